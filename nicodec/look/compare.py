"""Several pictures side by side in one HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import io
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nicodec.container.layout import MAGIC
from nicodec.errors import UsageError, about
from nicodec.image.files import read_picture
from nicodec.image.picture import Pixels
from nicodec.look.session import Session, as_image
from nicodec.metrics.psnr import psnr
from nicodec.options import spell_tau

EXACT: dict[str, Any] = {"format": "WEBP", "lossless": True, "exact": True, "method": 0}
# A page has a dozen pictures, of a megapixel 1 to 3 MB each without loss; so, a tenth, about 44 dB from the true ones.
SMALL = 1 << 15  # bytes of a picture that is held without loss in any case
CLOSE: dict[str, Any] = {"format": "AVIF", "quality": 78, "subsampling": "4:4:4", "speed": 8}
CLOSE_WITH_ALPHA: dict[str, Any] = {"format": "WEBP", "quality": 90, "exact": True}  # the alpha itself without loss


def compare(named: list[tuple[str, bytes]], taus: tuple[float, ...], steps: int, device: str) -> str:
    """The page of files, .nic or pictures, each with its name: .nic files with all anchors, at these taus.

    Large pictures are held close to what they are, all others exactly; the page says how close.

    Raises:
        UsageError: the pictures are not of one size.
        As `decode_bytes` and `read_picture`.
    """
    items = []
    for name, data in named:
        with about(name):
            items.append(_item(name, data, taus, steps, device))
    sizes = {item.pop("size") for item in items}
    if len(sizes) != 1:
        raise UsageError(
            "pictures of one size can be compared; these have "
            + ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        )
    ((width, height),) = sizes
    content = json.dumps({"width": width, "height": height, "items": items}).replace("</", "<\\/")
    page = _held("page.html")
    style = f"<style>{_held('page.css')}</style>\n<script>window.NIC_STATIC = {content};</script>"
    page = page.replace('<link rel="stylesheet" href="page.css">', style)
    for name in ("sources.js", "page.js"):
        script = f"<script>{_held(name)}</script>"
        page = page.replace(f'<script src="{name}"></script>', script)
    return page


def _held(name: str) -> str:
    return files("nicodec.look").joinpath(name).read_text(encoding="utf-8")


def _item(name: str, data: bytes, taus: tuple[float, ...], steps: int, device: str) -> dict[str, Any]:
    label = Path(name).name
    if not data.startswith(MAGIC):
        picture = read_picture(data)
        size = picture.width, picture.height
        bits = f"{len(data)} bytes, {8 * len(data) / (size[0] * size[1]):.3f} bpp"
        address, closeness = _hold(picture.pixels, picture.alpha)
        return {
            "label": label, "detail": f"{bits}, {_spell_closeness([closeness])}", "anchors": [], "tau": False,
            "pictures": {"": {"0": address}}, "size": size,
        }  # fmt: skip
    session = Session(data, device, beside=Path(name).parent)
    facts = session.facts()
    chosen = taus if facts["tau"] else (0.0,)
    held = {
        (anchor, tau): _hold(session.render(anchor, tau, steps, session.whole), session.alpha)
        for anchor in facts["anchors"] for tau in chosen
    }  # fmt: skip
    pictures = {anchor: {spell_tau(tau): held[anchor, tau][0] for tau in chosen} for anchor in facts["anchors"]}
    bits = f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp"
    return {
        "label": label, "detail": f"{bits}, {_spell_closeness([closeness for _, closeness in held.values()])}",
        "anchors": facts["anchors"], "tau": facts["tau"], "pictures": pictures,
        "size": (facts["width"], facts["height"]),
    }  # fmt: skip


def _hold(pixels: Pixels, alpha: Pixels | None) -> tuple[str, float]:
    """A picture as an address, and the PSNR of what that holds, in dB."""
    image = as_image(pixels, alpha)
    exact, close = (_save(image, how) for how in (EXACT, CLOSE if alpha is None else CLOSE_WITH_ALPHA))
    data = exact if len(exact) <= max(len(close), SMALL) else close
    kind = "avif" if data[4:8] == b"ftyp" else "webp"
    shown = np.asarray(Image.open(io.BytesIO(data)).convert(image.mode))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}", psnr(np.asarray(image), shown)


def _save(image: Image.Image, how: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)
    return buffer.getvalue()


def _spell_closeness(decibels: list[float]) -> str:
    if math.isinf(least := min(decibels)):
        return "shown exactly"
    return f"shown here with {least:.1f} dB PSNR or better, exactly in nicodec view"
