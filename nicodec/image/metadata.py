"""ICC, EXIF and XMP of Pillow images, whatever the format calls them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, PngImagePlugin

from nicodec.image.picture import Picture

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
INCHES = 2
MAX_DPI = 65535  # that JPEG's, PNG's and BMP's own fields hold
EXIF_TABLE = 34665
TABLES = {EXIF_TABLE, 34853}  # and GPS
# What describes a TIFF picture, as against how its pixels are stored.
DESCRIPTIVE = {269, 270, 271, 272, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 305, 306, 315, 316, 33432, *TABLES}
STORING = {*range(254, 533), 34675} - DESCRIPTIVE
TIFF_XMP = 700
EXIF_NAME, EXIF_START = b"Exif\0\0", re.compile(rb"(?:Exif\0\0)*(?=II\*\0|MM\0\*)")
XMP_ORIENTATION = re.compile(rb'tiff:Orientation="([2-8])"|<tiff:Orientation>([2-8])</tiff:Orientation>')
# What is said of width and of height, in EXIF and in XMP: they change places when a picture is turned.
PAIRS = [(256, 257), (X_RESOLUTION, Y_RESOLUTION), (40962, 40963), (41486, 41487)]
NAMES = [(b"ImageWidth", b"ImageLength"), (b"XResolution", b"YResolution"),
         (b"PixelXDimension", b"PixelYDimension"), (b"FocalPlaneXResolution", b"FocalPlaneYResolution")]  # fmt: skip
OTHER_TAG = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
OTHER_NAME = {a: b for pair in NAMES for a, b in (pair, pair[::-1])}
XMP_SIDED = re.compile(rb"(?<=tiff:|exif:)(?:" + b"|".join(OTHER_NAME) + rb")\b")
# What is said of the picture's own size, in EXIF's main table and its Exif table, and in XMP.
WIDTHS, HEIGHTS = {256, 40962}, {257, 40963}
XMP_SIZE = re.compile(rb"""((?:tiff:Image|exif:Pixel)(Width|XDimension|Length|YDimension)(?:=["']|>))\d+""")
TURNED = (5, 6, 7, 8)  # orientations whose width is the upright picture's height


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture.

    Attributes:
        icc, exif, xmp: blocks, as for the upright picture: without its orientation.
        orientation: 1..8, as EXIF numbers them; 1 is upright.
        notes: a sentence for each thing that was left out.
    """

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    orientation: int
    notes: tuple[str, ...]


def read_metadata(image: Image.Image) -> Metadata:
    """Metadata of an image whose pixels are loaded; EXIF with its DPI where that lacks it."""
    exif, block, orientation = Image.Exif(), None, 1
    notes: tuple[str, ...] = ()
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        block = _upright_exif(image, exif, turned=orientation in TURNED)
    except MemoryError:
        raise
    except Exception as error:  # as in `read_picture`: Pillow raises almost anything on damaged data
        notes = (f"the EXIF is damaged and was left out: {error}",)
    if image.format == "TIFF":
        xmp = xmp or exif.get(TIFF_XMP) or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if notes and (said := XMP_ORIENTATION.search(xmp)):  # otherwise Pillow has looked there too
        orientation = int(said[1] or said[2])
    xmp = XMP_ORIENTATION.sub(b"", xmp)
    if orientation in TURNED:
        xmp = XMP_SIDED.sub(lambda name: OTHER_NAME[name[0]], xmp)
    return Metadata(image.info.get("icc_profile") or None, block, xmp or None, orientation, notes)


def readable_exif(block: bytes) -> bytes | None:
    """EXIF as all formats take it, with its name before it; None: nobody could read it."""
    start = EXIF_START.match(block)
    return None if start is None else EXIF_NAME + block[start.end() :]


def _upright_exif(image: Image.Image, exif: Image.Exif, *, turned: bool) -> bytes | None:
    block, dpi = image.info.get("exif"), image.info.get("dpi")
    if block and readable_exif(block) is None:
        raise ValueError(f"it starts with {bytes(block[:8]).hex(' ')}")
    lacks_dpi = bool(dpi) and X_RESOLUTION not in exif and image.format != "TIFF"  # Pillow makes one up for it
    if block and exif.get(ORIENTATION, 1) == 1 and not lacks_dpi:
        return bytes(block)  # to the byte, makers' notes included
    kept = Image.Exif()  # a copy, for the image is the caller's
    for tag, value in exif.items():
        if tag != ORIENTATION and (image.format != "TIFF" or tag in DESCRIPTIVE):
            kept[tag] = exif.get_ifd(tag) if tag in TABLES else value
    if dpi and lacks_dpi:
        kept[X_RESOLUTION], kept[Y_RESOLUTION] = (float(value) for value in dpi)
        kept[RESOLUTION_UNIT] = INCHES
    if turned:
        kept = _with_sides_changed(kept)
    return kept.tobytes() if len(kept) else None


def _with_sides_changed(exif: Image.Exif) -> Image.Exif:
    """What was said of the width is said of the height. No thumbnail comes along: it would be unturned."""
    changed = Image.Exif()
    for tag, value in exif.items():
        sided = {OTHER_TAG.get(name, name): entry for name, entry in value.items()} if tag in TABLES else value
        changed[OTHER_TAG.get(tag, tag)] = sided
    return changed


def with_size(picture: Picture) -> Picture:
    """Metadata that say a size say the picture's own: those of one that was decoded smaller, or in part.

    EXIF that says none, or that nobody can read, stays as it is, to the byte.
    """
    sides = {
        b"Width": picture.width,
        b"XDimension": picture.width,
        b"Length": picture.height,
        b"YDimension": picture.height,
    }
    xmp = picture.xmp and XMP_SIZE.sub(lambda said: said[1] + str(sides[said[2]]).encode(), picture.xmp)
    return replace(picture, exif=picture.exif and _sized_exif(picture.exif, picture.width, picture.height), xmp=xmp)


def _sized_exif(block: bytes, width: int, height: int) -> bytes:
    own = dict.fromkeys(WIDTHS, width) | dict.fromkeys(HEIGHTS, height)
    try:
        exif = Image.Exif()
        exif.load(readable_exif(block) or b"")
        tables = {tag: exif.get_ifd(tag) if tag in TABLES else value for tag, value in exif.items()}
        if not own.keys() & (tables.keys() | tables.get(EXIF_TABLE, {}).keys()):
            return block
        sized = Image.Exif()
        for tag, value in tables.items():
            kept = {name: own.get(name, entry) for name, entry in value.items()} if tag == EXIF_TABLE else value
            sized[tag] = own.get(tag, kept)
        return sized.tobytes()
    except MemoryError:
        raise
    except Exception:  # as above
        return block


def save_parameters(picture: Picture, kind: str, dpi: tuple[float, float] | None) -> dict[str, Any]:
    """What Pillow's `save` is to be told of the metadata of a picture that fits the format (see `fitting`)."""
    exif = readable_exif(picture.exif) if picture.exif else None
    if kind == "TIFF" and (exif or picture.xmp):
        exif = exif_of_tiff(exif, picture.xmp)
    blocks = {"icc_profile": picture.icc, "exif": exif, "xmp": picture.xmp}
    parameters: dict[str, Any] = {name: block for name, block in blocks.items() if block}
    if dpi and kind in ("PNG", "JPEG", "TIFF", "BMP"):
        parameters["dpi"] = dpi
    if kind == "PNG" and (xmp := parameters.pop("xmp", None)):
        parameters["pnginfo"] = PngImagePlugin.PngInfo()
        parameters["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    return parameters


def exif_of_tiff(block: bytes | None, xmp: bytes | None = None) -> bytes | None:
    """EXIF as the tags of a TIFF file that they become, with XMP as one; None: there are none that TIFF takes."""
    exif, kept = Image.Exif(), Image.Exif()
    try:
        exif.load(block or b"")
        for tag, value in exif.items():
            if tag not in STORING:
                kept[tag] = exif.get_ifd(tag) if tag in TABLES else value
        if xmp:
            kept[TIFF_XMP] = xmp
        return kept.tobytes() if len(kept) else None
    except MemoryError:
        raise
    except Exception:  # as above
        return None


def read_dpi(block: bytes | None) -> tuple[float, float] | None:
    """The DPI that EXIF says, if it does and they are ones."""
    exif = Image.Exif()
    try:
        exif.load(readable_exif(block or b"") or b"")
        x, y = float(exif[X_RESOLUTION]), float(exif[Y_RESOLUTION])
        sane = 0 < x <= MAX_DPI and 0 < y <= MAX_DPI  # 0/0, which is neither, among others
        return (x, y) if sane and exif.get(RESOLUTION_UNIT, INCHES) == INCHES else None
    except (KeyError, ValueError, TypeError, SyntaxError, ZeroDivisionError, OSError):
        return None
