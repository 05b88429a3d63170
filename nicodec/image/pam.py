"""PAM (P7), Netpbm's format with alpha, which Pillow does not know."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from nicodec.errors import InputError
from nicodec.image.picture import Pixels

MAGIC = b"P7\n"
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
TUPLE_TYPES = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}


def read_pam(data: bytes) -> tuple[Image.Image, int]:
    """A PAM file to an 8-bit Pillow image, and the bits a sample that the file has.

    Raises:
        InputError: a header that is none, or fewer samples than it says.
    """
    head, end, body = data.partition(b"ENDHDR\n")
    fields = dict(re.findall(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL) +(\d+)\s*$", head, re.M))
    if not end or len(fields) != 4:
        raise InputError("the picture cannot be read: its PAM header lacks WIDTH, HEIGHT, DEPTH, MAXVAL or ENDHDR")
    width, height, depth, most = (int(fields[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    if depth not in MODES or not 0 < most < 65536 or not width * height:
        raise InputError(f"the picture cannot be read: PAM of {width}x{height}x{depth}, MAXVAL {most}")
    sample = np.dtype(">u2" if most > 255 else np.uint8)
    count = width * height * depth
    if len(body) < count * sample.itemsize:
        expected = count * sample.itemsize
        raise InputError(f"the picture cannot be read: its PAM body has {len(body)} bytes, {expected} expected")
    samples = np.frombuffer(body, sample, count).astype(np.float64)
    pixels = np.round(samples * (255 / most)).astype(np.uint8).reshape(height, width, depth)
    return Image.fromarray(pixels[:, :, 0] if depth == 1 else pixels), most.bit_length()


def write_pam(samples: Pixels) -> bytes:
    """Samples (H, W, 1..4), grey or RGB with or without alpha, to a PAM file."""
    height, width, depth = samples.shape
    head = f"WIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL 255\nTUPLTYPE {TUPLE_TYPES[depth]}\nENDHDR\n"
    return MAGIC + head.encode() + samples.tobytes()
