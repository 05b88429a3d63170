"""ICC profiles: which pixels one is for, and small ones of our own (ICC.1:2001-04: matrix and curves, or grey)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Chromaticities = tuple[tuple[float, float], ...]

SRGB_CHROMATICITIES: Chromaticities = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
D50 = np.array([0.9642, 1.0, 0.8249])  # the white of the profile connection space
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
HEAD = struct.Struct(">I4xI4s4s4s6H4s28x3i48x")
VERSION, DATE = 0x02400000, (2026, 1, 1, 0, 0, 0)  # always the same: equal colours give equal bytes
GREY, RGB, XYZ = b"GRAY", b"RGB ", b"XYZ "
GREY_CURVE = b"kTRC"


@dataclass(frozen=True)
class ColourSpace:
    """Colours said in numbers.

    Attributes:
        chromaticities: (x, y) of white, red, green and blue.
        curve: linear light 0..1 of samples 0..1: an exponent, or its values at samples 0, 1/255 .. 1.
    """

    chromaticities: Chromaticities
    curve: float | Floats

    def profile(self, *, grey: bool) -> bytes:
        """The ICC profile for pixels of this space; one for grey pixels says the curve alone.

        Raises:
            ValueError: numbers that mean no colours.
        """
        curve = _curve(self.curve)
        return _profile(GREY, {GREY_CURVE: curve}) if grey else _rgb_profile(self.chromaticities, curve)


def space_of(profile: bytes) -> str | None:
    """`RGB`, `GRAY`, `CMYK` or another name of the pixels that a profile is for; None: it is no profile."""
    return profile[16:20].decode("latin-1").strip() if len(profile) >= HEAD.size and profile[36:40] == b"acsp" else None


def grey_as_rgb(profile: bytes) -> bytes | None:
    """A profile under which equal R, G and B look as grey does under `profile`; None: it has no curve to take over."""
    (count,) = struct.unpack_from(">I", profile, HEAD.size) if len(profile) >= HEAD.size + 4 else (0,)
    table = profile[HEAD.size + 4 :][: 12 * count]
    places = {name: (at, size) for name, at, size in struct.iter_unpack(">4s2I", table[: len(table) // 12 * 12])}
    at, size = places.get(GREY_CURVE, (0, 0))
    curve = profile[at : at + size]
    if profile[20:24] != XYZ or not curve.startswith(b"curv") or len(curve) != size:
        return None
    return _rgb_profile(SRGB_CHROMATICITIES, curve)


def adapted_colorants(chromaticities: Chromaticities) -> Floats:
    """XYZ (3, 3) of full red, green and blue, a row each, adapted to D50 by Bradford: they add up to D50.

    Raises:
        ValueError: chromaticities that span no colours.
    """
    if any(y <= 0 for _, y in chromaticities):
        raise ValueError("a chromaticity has no luminance")
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in chromaticities)
    columns = np.stack(primaries, 1)
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError("the primaries lie on a line")
    columns = columns * np.linalg.solve(columns, white)
    if columns[1].min() <= 0:
        raise ValueError("the white lies outside the primaries")
    gains = np.diag((BRADFORD @ D50) / (BRADFORD @ white))
    return (np.linalg.inv(BRADFORD) @ gains @ BRADFORD @ columns).T


def _rgb_profile(chromaticities: Chromaticities, curve: bytes) -> bytes:
    colorants = adapted_colorants(chromaticities)
    if np.abs(colorants).max() > 16:
        raise ValueError("the chromaticities lie far outside the visible")
    tags = {name: _xyz(row) for name, row in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)}
    return _profile(RGB, {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile; tags of equal content share it."""
    name = b"nicodec\0"
    described = b"desc" + struct.pack(">4xI", len(name)) + name + bytes(78)  # no name in Unicode or Macintosh's script
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"No copyright\0", b"wtpt": _xyz(D50), **tags}
    start = HEAD.size + 4 + 12 * len(tags)
    table, body, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for tag, content in tags.items():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += tag + struct.pack(">2I", places[content], len(content))
    white = struct.unpack(">3i", _xyz(D50)[8:])
    head = HEAD.pack(start + len(body), VERSION, b"mntr", space, XYZ, *DATE, b"acsp", *white)
    return head + table + body


def _xyz(values: Floats) -> bytes:
    return XYZ + bytes(4) + np.round(values * 65536).astype(">i4").tobytes()


def _curve(curve: float | Floats) -> bytes:
    if isinstance(curve, np.ndarray):
        return b"curv" + struct.pack(">4xI", curve.size) + np.round(curve * 65535).astype(">u2").tobytes()
    if not 0.1 <= curve <= 10:
        raise ValueError(f"{curve:g} is no exponent of a display")
    return b"curv" + (bytes(8) if curve == 1 else struct.pack(">4xIH", 1, round(curve * 256)))
