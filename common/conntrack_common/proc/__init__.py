"""What /proc shows: the sysctls, the counters of each CPU, modules, netlink's users."""
