"""What a file may ask for, checked before anything is allocated on its word; for reasons see FORMAT.md, "Limits"."""

MAX_SIDE = 1 << 20
MAX_PIXELS = 1 << 28
MAX_METADATA = 16 << 20
MAX_SECTIONS = 32
"""Largest width or height; most pixels; most bytes of one unpacked metadata block; most sections of a file."""
