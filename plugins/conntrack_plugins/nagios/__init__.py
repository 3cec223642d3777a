"""Nagios, NRPE and Icinga 2: the checks, what they remember, and how they judge."""
