"""Where the bits of a file went: the coder's exact costs on the picture's plane."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.drawn import SIDE
from nicodec.container.layout import STRIDE, Header, Prior, SectionType
from nicodec.container.limits import check_declared
from nicodec.container.reader import NicFile
from nicodec.entropy.coder import cost_map
from nicodec.entropy.tokens import token_costs
from nicodec.errors import UnsupportedPictureError
from nicodec.image.drawn import unpack_drawn
from nicodec.latents.geometry import PATCH, enlarged

Costs = NDArray[np.float64]
# From nothing to the dearest: black, violet, orange, white; of about even steps in lightness.
RAMP = np.array([[0, 0, 0], [87, 20, 126], [229, 92, 48], [255, 255, 255]], np.float64)


def bit_costs(file: NicFile, max_pixels: int | None = None) -> dict[str, Costs]:
    """Bits of each 16x16 square of a file's picture: of `sq`, `vq`, `texture`, `drawn`, as far as it has them.

    Each is (rows, columns).

    Their sums are the sections' coded bytes, up to the coder's rounding (a word or two a tile). Those of drawn blocks
    have no place of their own, and are shared evenly by what is drawn. `max_pixels` is as in `DecodeOptions`.

    Raises:
        UnsupportedPictureError: another codec's file, whose costs nobody knows.
        LimitError: more pixels than a file of its size has (`container.limits.check_declared`).
        As `decode_symbols`.
    """
    check_declared(file, max_pixels)
    header, base = file.header, OwnDecoder(file)
    streams = base.tokens
    if SectionType.FOREIGN in file.sections:
        raise UnsupportedPictureError("the file holds another codec's strings; there is no map of their bits")
    shape = tuple(4 * -(-side // STRIDE) for side in (header.height, header.width))
    costs: dict[str, Costs] = {}
    if (payload := file.payload(SectionType.DRAWN)) is not None:
        each = SIDE // PATCH
        drawn = enlarged(unpack_drawn(payload, header).mask, each).astype(float)
        _add(costs, "drawn", shape, 0, 0, (8 * len(payload) / drawn.sum() * drawn)[: shape[0], : shape[1]])
    if not file.streams:
        return costs
    for tile, held in base.symbols().items():
        top, left = tile.top // PATCH, tile.left // PATCH
        if held.latent is not None:
            part = cost_map(base.model.scales, held.latent)
            _add(costs, "sq", shape, top, left, part)
        if held.tokens is not None and streams is not None:
            prior = base.model.prior(streams.kind)
            seen = held.latent if streams.prior is Prior.SQ else None
            part = token_costs(prior, held.tokens, streams.depth, seen)
            even = np.full((prior.side, prior.side), 1 / prior.side**2)
            _add(costs, streams.kind, shape, top, left, np.kron(part, even))
    return costs


def _add(costs: dict[str, Costs], name: str, shape: tuple[int, ...], top: int, left: int, part: Costs) -> None:
    whole = costs.setdefault(name, np.zeros(shape))
    whole[top : top + part.shape[0], left : left + part.shape[1]] += part


def bits_a_pixel(costs: dict[str, Costs], header: Header) -> Costs:
    """Of all streams together, for each square that the picture reaches into: (rows, columns)."""
    total: Costs = np.sum(list(costs.values()), 0) / PATCH**2
    return total[: -(-header.height // PATCH), : -(-header.width // PATCH)]


def draw(costs: dict[str, Costs], header: Header) -> bytes:
    """A PNG of the picture's size: `bits_a_pixel`, black for none to white for the dearest square."""
    total = bits_a_pixel(costs, header)
    place = total / max(total.max(), 1e-9) * (len(RAMP) - 1)
    low = np.minimum(place.astype(int), len(RAMP) - 2)
    share = (place - low)[..., None]
    colours = np.round((1 - share) * RAMP[low] + share * RAMP[low + 1]).astype(np.uint8)
    pixels = enlarged(colours, PATCH)[: header.height, : header.width]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()
