"""Picture quality, with stated data ranges."""
