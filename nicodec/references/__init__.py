"""Pictures that refer to others: search, alignment, warp, and what is coded given these."""
