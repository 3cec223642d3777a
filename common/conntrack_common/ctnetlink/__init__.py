"""ctnetlink: the table, its events and counters, as the kernel tells them by netlink."""
