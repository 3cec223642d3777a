"""What /proc says: the sysctls, the counters of each CPU, modules, netlink's users."""
