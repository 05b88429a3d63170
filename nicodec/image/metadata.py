"""ICC, EXIF and XMP of Pillow images, whatever the format calls them."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image, PngImagePlugin

from nicodec.image.picture import Picture

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
INCHES = 2
TABLES = {34665, 34853}  # Exif and GPS
# What describes a TIFF picture, as against how its pixels are stored.
DESCRIPTIVE = {270, 271, 272, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 305, 306, 315, 33432, *TABLES}
TIFF_XMP = 700
XMP_ORIENTATION = re.compile(rb'tiff:Orientation="[2-8]"|<tiff:Orientation>[2-8]</tiff:Orientation>')
HOLDS = {
    "PNG": {"icc", "exif", "xmp"}, "JPEG": {"icc", "exif", "xmp"}, "WEBP": {"icc", "exif", "xmp"},
    "TIFF": {"icc", "exif", "xmp"}, "AVIF": {"icc", "exif", "xmp"},
}  # fmt: skip


def read_metadata(image: Image.Image) -> tuple[bytes | None, bytes | None, bytes | None]:
    """ICC, EXIF and XMP of an opened image: both without its orientation, EXIF with its DPI where that lacks it."""
    icc = image.info.get("icc_profile")
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if image.format == "TIFF":
        xmp = xmp or image.getexif().get(TIFF_XMP)
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return icc or None, _read_exif(image), XMP_ORIENTATION.sub(b"", xmp) if xmp else None


def _read_exif(image: Image.Image) -> bytes | None:
    exif, block, dpi = image.getexif(), image.info.get("exif"), image.info.get("dpi")
    lacks_dpi = bool(dpi) and X_RESOLUTION not in exif
    if block and exif.get(ORIENTATION, 1) == 1 and not lacks_dpi:
        return bytes(block)  # to the byte, makers' notes included
    kept = Image.Exif()  # a copy, for the image is the caller's
    for tag, value in exif.items():
        if tag != ORIENTATION and (image.format != "TIFF" or tag in DESCRIPTIVE):
            kept[tag] = exif.get_ifd(tag) if tag in TABLES else value
    if dpi and lacks_dpi:
        kept[X_RESOLUTION], kept[Y_RESOLUTION] = (float(value) for value in dpi)
        kept[RESOLUTION_UNIT] = INCHES
    return kept.tobytes() if len(kept) else None


def save_parameters(picture: Picture, kind: str) -> tuple[dict[str, Any], list[str]]:
    """What Pillow's `save` is to be told, and the names of blocks that a format cannot hold."""
    blocks = {"icc": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    held = {name: block for name, block in blocks.items() if block and name in HOLDS.get(kind, set())}
    dropped = [name for name, block in blocks.items() if block and name not in held]
    names = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
    parameters: dict[str, Any] = {names[name]: block for name, block in held.items()}
    if picture.exif and (dpi := _dpi(picture.exif)) and kind not in ("WEBP", "AVIF", "PPM"):
        parameters["dpi"] = dpi
    if kind == "PNG" and (xmp := parameters.pop("xmp", None)):
        parameters["pnginfo"] = PngImagePlugin.PngInfo()
        parameters["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    if kind == "TIFF" and (xmp := parameters.pop("xmp", None)):
        exif = Image.Exif()
        exif.load(picture.exif or b"")
        exif[TIFF_XMP] = xmp
        parameters["exif"] = exif.tobytes()
    return parameters, dropped


def _dpi(block: bytes) -> tuple[float, float] | None:
    exif = Image.Exif()
    try:
        exif.load(block)
        x, y = float(exif[X_RESOLUTION]), float(exif[Y_RESOLUTION])
        return (x, y) if exif.get(RESOLUTION_UNIT, INCHES) == INCHES and min(x, y) > 0 else None
    except (KeyError, ValueError, TypeError, SyntaxError, ZeroDivisionError, OSError):
        return None
