"""Looking at files: a live page for one, a self-contained page for several."""
