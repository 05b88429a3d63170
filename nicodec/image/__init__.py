"""Picture files to `Picture` and back, and what of a picture is not coded by networks."""
