"""What an encoder finds out by decoding: whether references pay, and whether any part makes the picture worse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from nicodec.codec import find_experts
from nicodec.container.layout import STRIDE, Anchor, Box, Header, Section, SectionType, tiles
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.picture import Picture, Pixels
from nicodec.networks.experts import Experts
from nicodec.networks.tiling import Analysed, gather, neighbourhood, paint
from nicodec.rate.scale import lambda_from_rate
from nicodec.references import Referred
from nicodec.streams import StreamEncoder

Errors = NDArray[np.float64]  # (rows, columns) of blocks
WORSE = 10**0.1  # times the squared error of the linear synthesis that the fidelity anchor may have: 1 dB
UNSEEN = 255**2 / 10**4.4  # squared error in levels that nobody sees: 44 dB


def decide(
    picture: Picture, header: Header, encoder: StreamEncoder, analyse: Callable[[], Iterable[Analysed]]
) -> list[Section]:
    """The sections of a picture's references and streams.

    References that `auto` found stay where the file with them is the better one, by bits and by the error of what a
    plain decode shows. With `verify`, references that `auto` found and tokens that nobody asked for are left out where
    a block of the fidelity anchor is far worse than the linear synthesis of the same latents, and is not without them.

    Args:
        analyse: as `encoder.analyse`, called again where references are tried.

    Raises: as `encode_picture`.
    """
    options = encoder.options
    referred = encoder.refer(picture, header.rate)
    trials = [_code(picture, header, encoder, analyse(), referred)]
    if referred.sections and options.references == "auto":
        trials.append(_code(picture, header, encoder, analyse(), Referred(encoder.base)))
        trials.sort(key=lambda trial: trial.cost(encoder.base.config.lambda_max))
    if options.verify and encoder.scales:
        if encoder.vq and options.streams is None and options.token_bits is None and not options.robust:
            trials += [trial.without_tokens for trial in trials]
        if len(trials) > 1:
            return next((trial for trial in trials if trial.faithful), trials[0]).sections
    return trials[0].sections


def _code(
    picture: Picture, header: Header, encoder: StreamEncoder, analysed: Iterable[Analysed], referred: Referred
) -> Trial:
    symbols = list(encoder.symbols(analysed, referred.base, header.rate))
    sections = [*referred.sections, *encoder.sections(symbols, header.rate)]
    held = dict(zip(tiles(header.width, header.height), symbols, strict=True))
    return Trial(picture, header, encoder.options.device, sections, held)


@dataclass(frozen=True)
class Trial:
    """A way to code a picture: the sections, and the symbols that are in them."""

    picture: Picture
    header: Header
    device: str
    sections: list[Section]
    symbols: dict[Box, TileSymbols]

    @property
    def without_tokens(self) -> Trial:
        """The same without a VQ section; itself where there is none."""
        return replace(self, sections=[section for section in self.sections if section.type != SectionType.VQ])

    @cached_property
    def errors(self) -> tuple[Errors, Errors]:
        """Of a plain decode, and of the linear synthesis of the same latents."""
        header, whole = self.header, Box(0, 0, self.header.width, self.header.height)
        experts, streams = find_experts(read_file(self.file), Anchor.FIDELITY, self.device)
        rates = torch.tensor([float(header.rate)], device=experts.base.std.device)
        region, _ = neighbourhood(whole, header.width, header.height)
        y_hat, code = gather(self.symbols, experts, region, streams.depth if streams else 0, rates)
        plain, linear = (
            paint(self.symbols, header, painter, Anchor.FIDELITY, whole, region, y_hat, code, None, (0.0,))[0]
            for painter in (experts, Experts(experts.base, linear=True))
        )
        return block_errors(plain, self.picture.pixels), block_errors(linear, self.picture.pixels)

    @property
    def file(self) -> bytes:
        """With no more than these sections."""
        return write_file(self.header, self.sections)

    def cost(self, highest: float) -> float:
        """Bits and error, in bits, as `effort.correct` weighs them. `highest`: lambda of the base at quality 100."""
        error = self.errors[0].mean() * self.header.width * self.header.height
        return 8 * len(self.file) + float(error) * lambda_from_rate(self.header.rate, highest)

    @property
    def faithful(self) -> bool:
        """Whether no block of a plain decode is far worse than the linear synthesis, or bad enough to be seen."""
        plain, linear = self.errors
        return bool((plain <= np.maximum(WORSE * linear, UNSEEN)).all())


def block_errors(found: Pixels, expected: Pixels) -> Errors:
    """Mean squared errors in levels of two pictures (h, w, C), of each block of STRIDE pixels (rows, columns).

    What is left over at the right and bottom is part of the last block.
    """
    lines = []
    for strip in _spans(found.shape[0]):
        squared = (found[strip].astype(np.float32) - expected[strip]) ** 2
        lines.append([squared[:, span].mean() for span in _spans(found.shape[1])])
    return np.array(lines, np.float64)


def _spans(length: int) -> list[slice]:
    starts = range(0, max(1, length // STRIDE) * STRIDE, STRIDE)
    return [slice(start, start + STRIDE if start != starts[-1] else length) for start in starts]
