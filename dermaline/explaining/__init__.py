"""Where a network looked, and whether a map of that can be believed."""
