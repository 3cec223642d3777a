"""The catalogue: every quantity once, with its words; all names derive from it by rule."""
