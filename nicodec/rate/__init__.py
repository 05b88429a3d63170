"""Quality, rate and lambda: one number in the file, three names for it."""
