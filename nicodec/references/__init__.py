"""Pictures that know each other: search, alignment, warp, and what of a picture is coded on the base of them."""
