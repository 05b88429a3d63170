"""Open and save .nic files with Pillow: python examples/pillow_plugin.py photo.jpg"""

import sys
from pathlib import Path

from PIL import Image

import nicodec

nicodec.register_pillow_plugin()
source = Path(sys.argv[1])
target = Path(f"{source.stem}.nic")
Image.open(source).save(target, quality=40)
with Image.open(target) as image:  # size and metadata are there at once
    print(f"{target}: {image.size[0]}x{image.size[1]} {image.mode}, {target.stat().st_size} bytes")
    image.resize((image.width // 2, image.height // 2)).save(f"{source.stem}-half.png")  # now pixels are decoded
