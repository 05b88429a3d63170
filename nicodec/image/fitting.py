"""What each picture format can hold: sizes, alpha, metadata, and a profile only with the pixels that it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nicodec.errors import OutputError
from nicodec.image.icc import grey_as_rgb, space_of
from nicodec.image.metadata import exif_of_tiff, readable_exif
from nicodec.image.picture import METADATA, Picture

WITHOUT_ALPHA = {"JPEG", "BMP", "PPM"}
WITH_METADATA = {"PNG", "JPEG", "WEBP", "TIFF", "AVIF"}
WITHOUT_GREY = {"WEBP", "AVIF"}  # they store grey as colour
# Pixels a side: the format's limit, or that of the library by which nearly all read it (libjpeg, libavif).
SIDES = {"JPEG": 65500, "WEBP": 16383, "AVIF": 32768}
# Bytes of a block: JPEG's markers hold 65533, in part taken up by names; libpng reads no more by default.
BLOCKS = {
    ("JPEG", "icc"): 255 * (65533 - 14), ("JPEG", "exif"): 65533, ("JPEG", "xmp"): 65533 - 29,
    ("PNG", "icc"): 8_000_000 - 100, ("PNG", "exif"): 8_000_000 - 100, ("PNG", "xmp"): 8_000_000 - 100,
}  # fmt: skip


def fit(picture: Picture, kind: str) -> tuple[Picture, tuple[str, ...]]:
    """The picture as `kind`, one of Pillow's names of formats, can hold it, and a sentence for each thing it cannot.

    Raises:
        OutputError: too many pixels a side, or alpha, for that format.
    """
    if picture.alpha is not None and kind in WITHOUT_ALPHA:
        raise OutputError(f"{kind} cannot hold the picture's alpha; write PNG, WebP, TIFF, AVIF or PAM instead")
    if max(picture.width, picture.height) > SIDES.get(kind, max(picture.width, picture.height)):
        raise OutputError(
            f"{kind} holds at most {SIDES[kind]} pixels a side, the picture has {picture.width}x{picture.height}; "
            f"write PNG, TIFF or PAM instead, or a part of it (--crop)"
        )
    dropped = {name: reason for name in METADATA if (reason := _why_not(picture, name, kind))}
    kept = replace(picture, **dict.fromkeys(dropped))  # type: ignore[arg-type]
    matched, notes = match_profile(kept, stores_grey=kind not in WITHOUT_GREY)
    return matched, (*(f"{reason}: dropped" for reason in dropped.values()), *notes)


def _why_not(picture: Picture, name: str, kind: str) -> str | None:
    """Why a format cannot hold a block of metadata; None: it can, or there is none."""
    block: bytes | None = getattr(picture, name)
    if not block:
        return None
    if kind not in WITH_METADATA:
        return f"{kind} does not hold {name.upper()} here"
    if name == "exif":
        block = readable_exif(block)
        if block is None:
            return "the EXIF is damaged"
        if kind == "TIFF" and exif_of_tiff(block) is None:
            return "TIFF can take nothing of the EXIF"
    if kind == "PNG" and name == "xmp" and not _is_utf8(block):
        return "PNG holds XMP as UTF-8, which the picture's is not"
    if len(block) > BLOCKS.get((kind, name), len(block)):
        return f"{kind} holds at most {BLOCKS[kind, name]} bytes of {name.upper()}, the picture has {len(block)}"
    return None


def without_misfit(picture: Picture) -> tuple[Picture, tuple[str, ...]]:
    """Without a profile that says nothing of such pixels (one for grey on RGB, one for CMYK), and a sentence about it.

    What is no profile at all is left as it is.
    """
    space = None if picture.icc is None else space_of(picture.icc)
    if space in (None, "RGB") or (space == "GRAY" and picture.grey):
        return picture, ()
    pixels = "grey" if picture.grey else "RGB"
    return replace(picture, icc=None), (f"the ICC profile is for {space}, the pixels are {pixels}: dropped",)


def match_profile(picture: Picture, *, stores_grey: bool = True) -> tuple[Picture, tuple[str, ...]]:
    """Pixels and profile that go together, as every reader expects, and a sentence for what was lost.

    Grey under a profile for RGB becomes RGB of equal samples, which looks the same. Where grey will be stored as RGB,
    its profile becomes one for RGB.
    """
    picture, notes = without_misfit(picture)
    space = None if picture.icc is None else space_of(picture.icc)
    if space == "RGB" and picture.grey:
        return replace(picture, pixels=np.repeat(picture.pixels, 3, axis=2)), notes
    if space == "GRAY" and not stores_grey and picture.icc is not None:
        profile = grey_as_rgb(picture.icc)
        lost = (
            ()
            if profile
            else ("the ICC profile for grey has no simple curve, and here grey is stored as RGB: dropped",)
        )
        return replace(picture, icc=profile), (*notes, *lost)
    return picture, notes


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
