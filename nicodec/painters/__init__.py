"""From latents and tokens to pixels: the base, MoDE's anchors, the fuser. numpy; engines run the networks."""
