"""ctnetlink: the table, its events and counters, as the kernel sends them by netlink."""
