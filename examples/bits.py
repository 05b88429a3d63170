"""Where the bytes of a picture go at several qualities: python examples/bits.py photo.jpg"""

import sys
from pathlib import Path

import nicodec

picture = Path(sys.argv[1]).read_bytes()
for quality in (10, 30, 50, 70, 90):
    info = nicodec.read_info(nicodec.encode(picture, quality=quality))
    sections = ", ".join(f"{name} {size}" for name, size in info["sections"].items())
    print(f"quality {quality}: {info['bytes']} bytes, {info['bpp']:.3f} bpp: header {info['header_bytes']}, {sections}")
