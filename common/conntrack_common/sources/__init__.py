"""One module per interface: each reads facts and knows nothing of agents."""
