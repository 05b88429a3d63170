"""Pictures made by arithmetic, the same everywhere: no generator whose numbers may change between versions."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def scene(width, height, channels=3):
    """Smooth colours, edges, stripes and a texture: (height, width, channels) uint8."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    smooth = np.stack([x * 3 + y, 2 * y + x // 2, 255 - x - y // 3], 2)
    disc = ((x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 4 + 1) ** 2)[:, :, None]
    stripes = ((x // 5 + y // 3) % 2 * 90)[:, :, None]
    texture = ((x * 7919 + y * 104729 + (x * y) * 31) % 61)[:, :, None]
    right = (x > 2 * width // 3)[:, :, None]
    pixels = np.where(disc, [200, 60, 40], np.where(right, stripes + texture, smooth // 2 + texture // 4))
    return np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8)[:, :, :channels])


def grainy(width, height):
    """A scene under coarse grain, which not even a toy model takes for a drawing: a Pillow image."""
    y, x = np.mgrid[:height, :width].astype(np.int64)[:, :, :, None]
    grain = (x * 73856093 ^ y * 19349663 ^ np.arange(3) * 83492791) ** 2 % 1000003 % 81 - 40
    return Image.fromarray((scene(width, height) + grain).clip(0, 255).astype(np.uint8))


def another_shot(width, height, *, across=3, down=2, gain=0.9):
    """A Pillow image: a scene seen from a little further right and below, in another light."""
    pixels = np.pad(scene(width, height)[down:, across:], ((0, down), (0, across), (0, 0)), mode="edge")
    return Image.fromarray((pixels * gain + 5).clip(0, 255).round().astype(np.uint8))


def error_of(picture, decoded):
    """The mean squared error of decoded pixels, whole numbers that may be signed."""
    return np.square(np.asarray(picture).astype(int) - decoded).mean()


def alpha(width, height):
    """A ramp with a hole: (height, width) uint8."""
    y, x = np.mgrid[:height, :width]
    plane = (x * 255 // max(1, width - 1)).astype(np.uint8)
    plane[(y // 7 + x // 9) % 3 == 0] = 0
    return plane


def image(width, height, mode="RGB"):
    """A Pillow image of mode L, LA, RGB or RGBA."""
    pixels = scene(width, height, 1 if mode[0] == "L" else 3)
    if mode.endswith("A"):
        pixels = np.concatenate([pixels, alpha(width, height)[:, :, None]], 2)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def drawing(width, height, mode="RGB"):
    """Flat cells of six colours with hard edges, and a diagonal: a Pillow image of mode L or RGB."""
    y, x = np.mgrid[:height, :width]
    cells = (x // 8 * 5 + y // 8 * 3 + (x // 8) * (y // 8)) % 6
    cells[(x + 2 * y) % 37 == 0] = 5
    table = np.array([[0, 0, 0], [255, 255, 255], [230, 30, 40], [20, 160, 70], [30, 60, 200], [250, 210, 0]], np.uint8)
    return Image.fromarray(table[cells] if mode == "RGB" else table[cells].max(2))


def captioned(width, height, mode="RGB"):
    """A scene, with a drawing over its lower half: a Pillow image of mode L, LA, RGB or RGBA."""
    picture = image(width, height, mode)
    pixels = np.array(picture)
    half = height // 2
    channels = 1 if mode[0] == "L" else 3
    drawn = np.asarray(drawing(width, height - half, mode.rstrip("A"))).reshape(height - half, width, channels)
    pixels.reshape(height, width, -1)[half:, :, :channels] = drawn
    return Image.fromarray(pixels)


def file_bytes(picture, kind="PNG", **options):
    """A picture file in memory."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(picture, **bodies):
    """A PNG file with chunks such as gAMA=b"..." before its pixels."""
    data = file_bytes(picture)
    head = 8 + 25  # the signature and IHDR
    return data[:head] + b"".join(chunk(kind.encode(), body) for kind, body in bodies.items()) + data[head:]


def deep_png():
    """A 16-bit RGB PNG of 2x2 pixels, which Pillow opens as 8-bit; its bytes count from 0 to 11 in each row."""
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
