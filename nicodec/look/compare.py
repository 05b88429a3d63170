"""Several pictures side by side in one HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from nicodec.container.layout import MAGIC
from nicodec.errors import UsageError
from nicodec.image.files import read_picture
from nicodec.image.picture import Pixels
from nicodec.look.session import Session, as_image


def compare(named: list[tuple[str, bytes]], taus: tuple[float, ...], steps: int, device: str) -> str:
    """The page of files, .nic or pictures, each with its name: .nic files with all anchors, at these taus.

    Raises:
        UsageError: the pictures are not of one size.
        As `decode_bytes` and `read_picture`.
    """
    items = [_item(name, data, taus, steps, device) for name, data in named]
    sizes = {item.pop("size") for item in items}
    if len(sizes) != 1:
        raise UsageError(f"pictures of one size can be compared; these have {sorted(sizes)}")
    ((width, height),) = sizes
    content = json.dumps({"width": width, "height": height, "items": items}).replace("</", "<\\/")
    folder = files("nicodec.look")
    page = folder.joinpath("page.html").read_text()
    style = f"<style>{folder.joinpath('page.css').read_text()}</style>\n<script>window.NIC_STATIC = {content};</script>"
    page = page.replace('<link rel="stylesheet" href="page.css">', style)
    for name in ("sources.js", "page.js"):
        script = f"<script>{folder.joinpath(name).read_text()}</script>"
        page = page.replace(f'<script src="{name}"></script>', script)
    return page


def _item(name: str, data: bytes, taus: tuple[float, ...], steps: int, device: str) -> dict[str, Any]:
    label = Path(name).name
    if not data.startswith(MAGIC):
        picture = read_picture(data)
        size = picture.width, picture.height
        bits = f"{len(data)} bytes, {8 * len(data) / (size[0] * size[1]):.3f} bpp"
        pictures = {"": {"0": _uri(picture.pixels, picture.alpha)}}
        return {"label": label, "detail": bits, "anchors": [], "tau": False, "pictures": pictures, "size": size}
    session = Session(data, device)
    facts = session.facts()
    chosen = taus if facts["tau"] else (0.0,)
    pictures = {
        anchor: {f"{tau:g}": _uri(session.render(anchor, tau, steps, session.whole), session.alpha) for tau in chosen}
        for anchor in facts["anchors"]
    }
    return {
        "label": label, "detail": f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp", "anchors": facts["anchors"],
        "tau": facts["tau"], "pictures": pictures, "size": (facts["width"], facts["height"]),
    }  # fmt: skip


def _uri(pixels: Pixels, alpha: Pixels | None) -> str:
    """A picture without loss as an address."""
    buffer = io.BytesIO()
    as_image(pixels, alpha).save(buffer, "WEBP", lossless=True, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
