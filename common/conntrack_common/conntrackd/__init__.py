"""conntrackd: its statistics, its configuration, its process, and what they say."""
