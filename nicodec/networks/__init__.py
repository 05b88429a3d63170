"""Float networks: pixels to latents and back. Two machines may differ here by rounding, never by content."""
