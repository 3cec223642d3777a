"""Network namespaces: which there are, what they are called, and entering them."""
