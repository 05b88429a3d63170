"""Picture files to `Picture` and back, through Pillow; the only file that opens or saves with it."""

from __future__ import annotations

import io
import re
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from nicodec.errors import InputError, OutputError, UnsupportedPictureError
from nicodec.image.picture import Picture

# Pillow's modes that convert to ours without loss.
TARGET_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB"}

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
    ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip
WITHOUT_ALPHA = {"JPEG", "BMP", "PPM"}
HOLDS = {"PNG": {"icc", "exif", "xmp"}, "JPEG": {"icc", "exif", "xmp"}, "WEBP": {"icc", "exif", "xmp"}, "TIFF": {"icc"}}


def read_picture(data: bytes) -> Picture:
    """Open a picture file held in memory.

    Raises:
        InputError: empty, not a picture, or truncated.
        UnsupportedPictureError: more than 8 bits a sample, or a colour mode that would be changed.
    """
    if not data:
        raise InputError("the input is empty; expected a picture file")
    try:
        # Pillow's warnings about odd metadata are no news to a user who gets a picture or an error.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            refuse_deep_samples(data, image)
            image.load()
            return from_pillow(image)
    except UnidentifiedImageError:
        raise InputError(f"the input is not a picture that Pillow knows: it starts with {data[:8].hex(' ')}") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedPictureError(str(error)) from None
    except (OSError, SyntaxError, ValueError, struct.error, EOFError) as error:
        raise InputError(f"the picture cannot be read: {error}") from None


def from_pillow(image: Image.Image) -> Picture:
    """Take over a Pillow image: pixels, alpha and metadata, with its EXIF orientation applied once.

    Raises:
        UnsupportedPictureError: a colour mode that would be changed.
    """
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the input holds {frames} pictures; only the first is encoded")
    icc = image.info.get("icc_profile")
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    exif, xmp = image.info.get("exif"), image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    mode = TARGET_MODES.get(image.mode)
    if mode is None:
        raise UnsupportedPictureError(
            f"the picture has colour mode {image.mode}; expected RGB, grey or RGBA, 8 bits a sample: convert it first"
        )
    if "transparency" in image.info:
        mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
    samples = np.asarray(image.convert(mode))
    samples = samples.reshape(*samples.shape[:2], -1)
    alpha = samples[:, :, -1].copy() if mode in ("LA", "RGBA") else None
    pixels = np.ascontiguousarray(samples[:, :, : 1 if mode in ("L", "LA") else 3])
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return Picture(pixels, alpha, icc or None, exif or None, xmp or None, tuple(notes))


def refuse_deep_samples(data: bytes, image: Image.Image) -> None:
    """Pillow opens some deep pictures as 8-bit without a word; look at the file itself.

    Raises:
        UnsupportedPictureError: the file has more than 8 bits a sample.
    """
    depth = 8
    if image.format == "PNG":
        depth = data[24]
    elif image.format == "TIFF":
        depth = max(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
    elif image.format == "PPM":
        fields = re.match(rb"P[2356](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)", data)
        depth = int(fields[1]).bit_length() if fields else 8
    elif image.format == "AVIF" and (start := data.find(b"pixi")) >= 0:
        depth = data[start + 9]  # after the box's type: version, flags, number of channels
    if depth > 8 or image.mode.startswith(("I", "F")):
        raise UnsupportedPictureError(
            f"the picture has more than 8 bits a sample ({image.format}, {image.mode}); convert it to 8 bits first"
        )


def to_pillow(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA with ICC, EXIF and XMP in its `info`."""
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha[:, :, None]]
    samples = np.concatenate(planes, 2)
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    blocks = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    image.info.update({name: block for name, block in blocks.items() if block})
    return image


def check_suffix(suffix: str) -> str:
    """The format that a suffix like `.png` means.

    Raises:
        OutputError: none that we write.
    """
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise OutputError(f"cannot write a picture as {suffix or 'a file without suffix'}; known: {' '.join(FORMATS)}")
    return kind


def write_picture(picture: Picture, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """A picture file in memory, in the format that a suffix like `.png` means.

    Returns:
        The file, and a sentence for each thing that this format cannot hold.

    Raises:
        OutputError: unknown suffix, or a format without alpha for a picture with it.
    """
    kind = check_suffix(suffix)
    if picture.alpha is not None and kind in WITHOUT_ALPHA:
        raise OutputError(f"{kind} cannot hold the picture's alpha; write PNG, WebP or TIFF instead")
    blocks = {"icc": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    held = {name: block for name, block in blocks.items() if block and name in HOLDS.get(kind, set())}
    dropped = [name for name in blocks if blocks[name] and name not in held]
    notes = tuple(f"{kind} does not hold {name.upper()} here: dropped" for name in dropped)
    names = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
    parameters: dict[str, object] = {names[name]: block for name, block in held.items()}
    if kind == "PNG" and (xmp := parameters.pop("xmp", None)):
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", bytes(xmp).decode("utf-8", "replace"))  # type: ignore[call-overload]
        parameters["pnginfo"] = text
    if kind == "JPEG":
        parameters |= {"quality": 95, "subsampling": 0}
    if kind == "WEBP":
        parameters |= {"lossless": True, "exact": True}
    image = to_pillow(picture)
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, kind, **parameters)
    return buffer.getvalue(), notes
