"""What an encoder finds out by decoding what it wrote: whether references pay, and whether any part does harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.layout import STRIDE, Box, tiles
from nicodec.container.reader import NicFile, read_file
from nicodec.container.writer import write_file
from nicodec.image.picture import Picture, Pixels
from nicodec.options import EncodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.rate.scale import lambda_from_rate
from nicodec.weighing import Coded

Errors = NDArray[np.float64]  # (rows, columns) of blocks
WORSE = 10**0.1  # times the squared error of the linear synthesis that the fidelity anchor may have: 1 dB
UNSEEN = 255**2 / 10**4.4  # squared error in levels that nobody sees: 44 dB


def settle(picture: Picture, ways: Sequence[Coded], options: EncodeOptions, *, faithful: bool, tokens: bool) -> Coded:
    """The best of several ways to code a picture, by bits and the error of what a plain decode shows.

    Args:
        ways: one or more.
        faithful: rather one in which no block of the fidelity anchor is far worse than the linear synthesis of the
            same latents, if there is one.
        tokens: may be left out for that.

    Raises: as `bases.own_decoder.OwnDecoder.synthesis`.
    """
    trials = [Trial(picture, coded, options) for coded in ways]
    if len(trials) > 1:
        trials.sort(key=lambda trial: trial.cost)
    if not faithful:
        return trials[0].coded
    if tokens:
        trials += [trial.without_tokens for trial in trials]
    return next((trial for trial in trials if trial.faithful), trials[0]).coded


@dataclass(frozen=True, eq=False)
class Trial:
    """A way to code a picture, and how it decodes."""

    picture: Picture
    coded: Coded
    options: EncodeOptions

    @property
    def without_tokens(self) -> Trial:
        """The same file without tokens."""
        kept = self.file.without_tokens.sections.values()
        return replace(self, coded=replace(self.coded, data=write_file(self.coded.header, [*kept])))

    @cached_property
    def file(self) -> NicFile:
        """Parsed."""
        return read_file(self.coded.data)

    @cached_property
    def plain(self) -> Errors:
        """Squared errors of what a plain decode shows, see `block_errors`."""
        return self._errors(OwnDecoder(self.file, self.options.engine, self.options.device).synthesis)

    @cached_property
    def linear(self) -> Errors:
        """Those of the linear synthesis of the same latents."""
        return self._errors(Synthesis(self.coded.header, Experts(self.coded.base, linear=True)))

    @property
    def cost(self) -> float:
        """Bits and error, in bits, as `effort.correct` weighs them."""
        weight = lambda_from_rate(self.coded.header.rate, self.coded.base.lambda_max)
        return 8 * len(self.coded.data) + weight * float(self.plain.sum())

    @property
    def faithful(self) -> bool:
        """Whether no block of a plain decode is far worse than the linear synthesis, and bad enough to be seen."""
        unseen = UNSEEN * block_areas(self.picture.height, self.picture.width)
        return bool((self.plain <= np.maximum(WORSE * self.linear, unseen)).all())

    def _errors(self, synthesis: Synthesis) -> Errors:
        header = self.coded.header
        held = dict(zip(tiles(header.width, header.height), self.coded.symbols, strict=True))
        (found,) = synthesis.paint(held, Box(0, 0, header.width, header.height))
        return block_errors(found, self.picture.pixels)


def block_errors(found: Pixels, expected: Pixels) -> Errors:
    """Squared errors in levels of two pictures (h, w, C), the mean of the channels, summed over each block of `spans`.

    Returns:
        (rows, columns), float64.
    """
    lines = []
    for strip in spans(found.shape[0]):
        squared = np.square(found[strip].astype(np.float32) - expected[strip]).mean(2)
        lines.append([squared[:, span].sum(dtype=np.float64) for span in spans(found.shape[1])])
    return np.array(lines)


def block_areas(height: int, width: int) -> Errors:
    """Pixels of each block (rows, columns)."""
    rows, columns = ([span.stop - span.start for span in spans(length)] for length in (height, width))
    return np.outer(rows, columns).astype(np.float64)


def spans(length: int) -> list[slice]:
    """A side in blocks of STRIDE pixels; what is left over at the end is part of the last one."""
    starts = range(0, max(1, length // STRIDE) * STRIDE, STRIDE)
    return [slice(start, start + STRIDE if start != starts[-1] else length) for start in starts]
