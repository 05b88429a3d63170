"""Colours that a file declares in numbers, not by a profile: PNG's gAMA, cHRM and cICP, AVIF's nclx (ITU-T H.273)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from nicodec.errors import UnsupportedPictureError
from nicodec.image.icc import SRGB_CHROMATICITIES, Chromaticities, ColourSpace, Floats
from nicodec.image.png import cicp

D65, C = (0.3127, 0.3290), (0.310, 0.316)
NTSC: Chromaticities = (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_CHROMATICITIES,
    4: (C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: NTSC,
    7: NTSC,
    8: (C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
SAMPLES = np.arange(256) / 255
# Linear light of samples under sRGB's curve, and under BT.709's, which BT.601 and BT.2020 share.
SRGB_CURVE: Floats = np.where(SAMPLES <= 0.04045, SAMPLES / 12.92, ((SAMPLES + 0.055) / 1.055) ** 2.4)
BT709_CURVE: Floats = np.where(SAMPLES < 0.081, SAMPLES / 4.5, ((SAMPLES + 0.099) / 1.099) ** (1 / 0.45))
SRGB_TRANSFER, UNSPECIFIED = 13, 2
VIDEO_TRANSFERS = (1, 6, 11, 12, 14, 15)
CURVES: dict[int, float | Floats] = {
    **dict.fromkeys(VIDEO_TRANSFERS, BT709_CURVE), 4: 2.2, 5: 2.8, 8: 1.0, SRGB_TRANSFER: SRGB_CURVE,
}  # fmt: skip
HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}
SRGB = ColourSpace(SRGB_CHROMATICITIES, SRGB_CURVE)
SRGB_GAMMA = 1 / 2.2  # as gAMA says it


@dataclass(frozen=True)
class Codes:
    """Colours by their codes in ITU-T H.273."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


def declared_profile(image: Image.Image, data: bytes, *, grey: bool) -> tuple[bytes | None, list[str]]:
    """The ICC profile of colours that a file declares without one, and a sentence if they are none.

    A profile in the file wins over all; then come cICP or nclx, sRGB, gAMA with cHRM. Colours of sRGB need no profile.

    Args:
        image: the opened file, of 8 bits a sample.
        data: the file; empty, where there is an image only, whose `info` then says gAMA and cHRM, but not cICP.
        grey: whether the pixels are grey.

    Raises:
        UnsupportedPictureError: colours that 8 bits cannot hold, or samples of narrow range.
    """
    codes = _codes(image, data)
    if codes is not None:
        _check_codes(codes)
    if image.info.get("icc_profile"):
        return None, []
    notes: list[str] = []
    for read in (partial(_space_of_codes, codes), partial(_space_of_chunks, image.info)):
        try:
            if (space := read()) is not None:
                return (None if space is SRGB else space.profile(grey=grey)), notes
        except ValueError as error:
            notes.append(f"the file declares colours that mean nothing, which are ignored: {error}")
    return None, notes


def _codes(image: Image.Image, data: bytes) -> Codes | None:
    """What a PNG or AVIF file says by code; None: nothing."""
    if image.format == "PNG" and (body := cicp(data)):
        primaries, transfer, matrix, full_range = body
        return Codes(primaries, transfer, matrix, full_range != 0)
    if image.format == "AVIF" and (start := data.find(b"colrnclx") + len(b"colrnclx")) >= 2 * len(b"colrnclx"):
        primaries, transfer = struct.unpack_from(">2H", data, start)
        # Video tools write BT.709's curve where pictures are meant, and shown, with sRGB's. Pillow undoes the rest.
        return Codes(primaries, SRGB_TRANSFER if transfer in VIDEO_TRANSFERS else transfer, 0, True)
    return None


def _check_codes(codes: Codes) -> None:
    advice = "convert it to sRGB or Display P3 first"
    if codes.transfer in HIGH_DYNAMIC_RANGE:
        name = HIGH_DYNAMIC_RANGE[codes.transfer]
        raise UnsupportedPictureError(f"the picture is of high dynamic range ({name}), too much for 8 bits; {advice}")
    if not codes.full_range:
        raise UnsupportedPictureError(f"the picture's samples are of narrow range (16..235), expected 0..255; {advice}")


def _space_of_codes(codes: Codes | None) -> ColourSpace | None:
    if codes is None or codes.primaries == codes.transfer == UNSPECIFIED:
        return None
    primaries = 1 if codes.primaries == UNSPECIFIED else codes.primaries
    transfer = SRGB_TRANSFER if codes.transfer == UNSPECIFIED else codes.transfer
    if primaries not in PRIMARIES or transfer not in CURVES or codes.matrix != 0:
        raise ValueError(f"primaries {codes.primaries}, transfer {codes.transfer}, matrix {codes.matrix}")
    return SRGB if (primaries, transfer) == (1, SRGB_TRANSFER) else ColourSpace(PRIMARIES[primaries], CURVES[transfer])


def _space_of_chunks(info: Mapping[Any, Any]) -> ColourSpace | None:
    """Of Pillow's names for sRGB, gAMA and cHRM; gAMA alone has sRGB's primaries, cHRM alone its curve."""
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info:
        return SRGB
    if gamma is None and chromaticities is None:
        return None
    if gamma == 0:
        raise ValueError("gAMA is 0")
    usual_gamma = gamma is None or abs(gamma - SRGB_GAMMA) < 0.0005
    points = SRGB_CHROMATICITIES if chromaticities is None else _pairs(chromaticities)
    if usual_gamma and np.allclose(points, SRGB_CHROMATICITIES, rtol=0, atol=0.001):
        return SRGB
    return ColourSpace(points, SRGB_CURVE if gamma is None else 1 / gamma)


def _pairs(values: tuple[float, ...]) -> Chromaticities:
    return tuple(zip(values[::2], values[1::2], strict=True))
