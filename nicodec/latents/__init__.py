"""The border between floats and integers: tiles of a latent, quantisation, and what an encoder does better. numpy."""
