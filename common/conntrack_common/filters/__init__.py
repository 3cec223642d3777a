"""conntrack(8)'s filters: what they mean, and how they are written."""
