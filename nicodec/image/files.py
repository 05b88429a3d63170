"""Picture files to `Picture` and back, through Pillow; the only file that opens or saves with it."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nicodec.errors import InputError, NicodecError, OutputError, UnsupportedPictureError
from nicodec.image.colour import to_samples
from nicodec.image.depth import bits_of, to_8_bits
from nicodec.image.metadata import read_metadata, save_parameters
from nicodec.image.pam import MAGIC, read_pam, write_pam
from nicodec.image.picture import Picture, Pixels

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
    ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".pam": "PAM",
}  # fmt: skip
WITHOUT_ALPHA = {"JPEG", "BMP", "PPM"}
# JPEG and AVIF are lossy: as close as they come.
SAVING: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}  # fmt: skip


def read_picture(data: bytes, frame: int | None = None, *, allow_8bit: bool = False) -> Picture:
    """Open a picture file held in memory.

    Args:
        frame: which picture of a file with several, from 0; None: the first, with a note.
        allow_8bit: reduce deeper samples to 8 bits, with a note.

    Raises:
        InputError: empty, not a picture, truncated, or without that frame.
        UnsupportedPictureError: more than 8 bits a sample, or a colour mode that would be changed.
    """
    if not data:
        raise InputError("the input is empty; expected a picture file")
    try:
        # Pillow's warnings about odd metadata are no news to a user who gets a picture or an error.
        with warnings.catch_warnings(action="ignore"):
            if data.startswith(MAGIC):
                return from_pillow(*read_pam(data), frame=frame, allow_8bit=allow_8bit)
            with Image.open(io.BytesIO(data)) as image:
                bits = bits_of(data, image)
                return from_pillow(image, bits, frame=frame, allow_8bit=allow_8bit)
    except UnidentifiedImageError:
        raise InputError(f"the input is not a picture that Pillow knows: it starts with {data[:8].hex(' ')}") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedPictureError(str(error)) from None
    except (NicodecError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files, TypeError for one
        raise InputError(f"the picture cannot be read: {error}") from None


def from_pillow(
    image: Image.Image, bits: int | None = None, *, frame: int | None = None, allow_8bit: bool = False
) -> Picture:
    """Take over a Pillow image: pixels, alpha and metadata, with its EXIF orientation applied once.

    Args:
        bits: a sample in the file; None: as the image's mode says.
        frame, allow_8bit: see `read_picture`.

    Raises:
        InputError: no such frame.
        UnsupportedPictureError: more than 8 bits a sample, or a colour mode that would be changed.
    """
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and frame is None:
        notes.append(f"the input holds {frames} pictures; only the first is encoded (--frame N for another)")
    if frame is not None and not 0 <= frame < frames:
        raise InputError(f"frame is {frame}, but the input holds {frames}, counted from 0")
    if frames > 1:
        image.seek(frame or 0)
    bits = bits_of(b"", image) if bits is None else bits
    if bits > 8 and (bits > 16 or not allow_8bit):
        advice = "convert it first" if bits > 16 else "--allow-8bit reduces them to 8"
        raise UnsupportedPictureError(f"the picture has {bits} bits a sample ({image.format}, {image.mode}); {advice}")
    if bits > 8 and "transparency" in image.info:
        raise UnsupportedPictureError(f"the picture has a transparent colour of {bits} bits; convert it to RGBA first")
    icc, exif, xmp = read_metadata(image)
    upright = ImageOps.exif_transpose(image)
    if bits > 8:
        notes.append(f"{bits} bits a sample were reduced to 8")
        upright = to_8_bits(upright, bits)
    pixels, alpha, conversions = to_samples(upright)
    return Picture(pixels, alpha, None if image.mode == "CMYK" else icc, exif, xmp, (*notes, *conversions))


def to_pillow(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA with ICC, EXIF and XMP in its `info`."""
    samples = _samples(picture)
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    blocks = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    image.info.update({name: block for name, block in blocks.items() if block})
    return image


def _samples(picture: Picture) -> Pixels:
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha[:, :, None]]
    return np.concatenate(planes, 2)


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
        OutputError: unknown suffix, a format without alpha for a picture with it, or without colour.
    """
    kind = check_suffix(suffix)
    if picture.alpha is not None and kind in WITHOUT_ALPHA:
        raise OutputError(f"{kind} cannot hold the picture's alpha; write PNG, WebP, TIFF, AVIF or PAM instead")
    if suffix.lower() == ".pgm" and not picture.grey:
        raise OutputError("PGM holds grey only; write .ppm instead")
    parameters, dropped = save_parameters(picture, kind)
    notes = tuple(f"{kind} does not hold {name.upper()} here: dropped" for name in dropped)
    if kind == "PAM":
        return write_pam(_samples(picture)), notes
    image = to_pillow(picture)
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, kind, **SAVING.get(kind, {}), **parameters)
    return buffer.getvalue(), notes
