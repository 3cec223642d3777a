"""The shared core: reads Linux connection tracking and conntrackd, and knows nothing of agents."""

__version__ = "0.1.0"
