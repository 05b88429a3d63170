"""The reference dictionary: what many pictures look like, for both sides to hold (CLC, arXiv 2502.09971)."""
