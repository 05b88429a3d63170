"""A picture on its way to a file: which of the ways to code it is the best, and what they have in common."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from nicodec.bases import Streams, header_of
from nicodec.container.layout import Section
from nicodec.container.limits import is_usual
from nicodec.container.writer import write_file
from nicodec.drawing import SPILT, Guess, by_block, drawn_section, guess, may_mix, sketch
from nicodec.image.drawn import cover, grid
from nicodec.image.kept import kept_sections
from nicodec.image.picture import Picture
from nicodec.options import EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.rate.tile import TileRate
from nicodec.zoo.model import Model

if TYPE_CHECKING:
    from nicodec.bases.own_encoder import Analysis, OwnEncoder, ReferringStreams
    from nicodec.dictionary.conditioning import Referred
    from nicodec.references.library import Library
    from nicodec.references.refer import Offered
    from nicodec.weighing import Coded


class PictureEncoder:
    """A picture, and what no quality changes in its files: made once each, and not before it is asked for.

    Args:
        several: files are to be made, so what the analysis makes of all tiles is kept.
    """

    def __init__(self, picture: Picture, options: EncodeOptions, *, several: bool) -> None:
        self.picture, self.options, self.several = picture, options, several
        self.model = Model.named(options.model, options.engine, options.device)

    def encode(self, quality: float) -> bytes:
        """The file at a quality: of those with and without aligned references, the one of less bits and error.

        Raises: as `encode_picture`.
        """
        rate, found = rate_from_quality(quality), None
        weight = self.model.weight(rate)
        guessed = guess(self.picture.pixels, self.options, weight)
        if self.options.refers and self.offered:
            found = self.base.code_referring(self.analysed, rate, self.offered)
        if found is None:
            return self.encode_alone(rate, guessed)
        from nicodec.references.refer import lighter

        if found.clear and not guessed.draws:
            return self.file(found)
        referring = self.file(self.drawn_over(found, rate, weight) if guessed.draws else found)
        return lighter(self.picture, self.encode_alone(rate, guessed), referring, self.library.picture, weight)

    def drawn_over(self, found: ReferringStreams, rate: int, weight: float) -> Streams:
        """Streams that refer to pictures, and what is cheaper to draw; the networks see a reference there."""
        from nicodec.weighing import bits_of

        if not may_mix(self.options):
            return found
        pixels, laid = self.picture.pixels, found.used[0].aligned.laid()
        costs = bits_of(found.header, found.symbols, self.base) + found.errors
        costs[by_block((laid != pixels).any(2)) == 0] = 0  # what looks costly there is what lies beside it
        mask, _ = sketch(pixels, weight).chosen(pixels, SPILT * costs)
        if not mask.any() or mask.all():
            return found
        under = np.where(cover(mask, (pixels.shape[0], pixels.shape[1]))[..., None], laid, pixels)
        analysed = self.base.analyse(replace(self.picture, pixels=under))
        below = self.base.code_referring(analysed, rate, self.offered) or found
        return Streams(below.header, [*below.sections, drawn_section(pixels, mask, below.header, self.options)])

    def encode_alone(self, rate: int, guessed: Guess) -> bytes:
        """The file without such references. No network is loaded where none is needed. Raises: as `encode_picture`.

        What was written is decoded only where there is a doubt: whether references pay that `auto` found, and, in what
        is no photograph, whether tokens do harm.
        """
        if guessed.mask.all() and self.drawn:
            return self.drawn
        if guessed.mask.any():
            from nicodec.weighing import mix

            return mix(self.picture, guessed.mask, rate, self.base, self.kept).data
        base, options = self.base, self.options
        referred = base.refer(self.picture, rate)
        drawn = None if guessed.sketch is None else self.drawn
        found = bool(referred.sections) and not isinstance(options.references, int)
        tokens = base.vq is not None and not options.asks_for_tokens
        faithful = options.verify and not guessed.photograph and (found or tokens)
        if drawn is None and not found and not faithful:
            return self.file(base.code(self.analysed, rate, referred))
        from nicodec.trials import settle
        from nicodec.weighing import lightest

        ways = [self.coded(rate, way) for way in ([referred, base.plain] if found else [referred])]
        coded = settle(self.picture, ways, options, faithful=faithful, tokens=tokens)
        if guessed.sketch is None or drawn is None:
            return coded.data
        return lightest(self.picture, guessed.sketch, coded, drawn, base, self.kept)

    def coded(self, rate: int, referred: Referred) -> Coded:
        """A file of the networks' streams alone, and what it was made with."""
        from nicodec.weighing import Coded

        coded = self.base.code(self.analysed, rate, referred, keep=True)
        return Coded(self.file(coded), coded.header, coded.base, coded.symbols)

    def file(self, streams: Streams) -> bytes:
        """The file of a base's streams, and what is kept beside them."""
        return write_file(streams.header, [*streams.sections, *self.kept])

    @cached_property
    def base(self) -> OwnEncoder:
        """The model at work."""
        from nicodec.bases.own_encoder import OwnEncoder

        return OwnEncoder(self.model, self.options)

    @cached_property
    def analysed(self) -> Analysis:
        """All that the base's networks see in the picture."""
        return self.base.analyse(self.picture, keep=self.several)

    @cached_property
    def library(self) -> Library:
        """Where the pictures are that it may refer to."""
        from nicodec.codec import decode_reference
        from nicodec.references.library import Library

        given = self.options.references if isinstance(self.options.references, tuple) else ()
        decode = partial(decode_reference, self.options.engine, self.options.device)
        return Library(decode, given, named=self.options.dictionaries)

    @cached_property
    def offered(self) -> list[Offered]:
        """These pictures, aligned with it."""
        from nicodec.references.refer import offer

        return offer(self.picture, self.library)

    @cached_property
    def kept(self) -> list[Section]:
        """Alpha and metadata."""
        return kept_sections(self.picture)

    @cached_property
    def drawn(self) -> bytes | None:
        """The file that draws all of the picture; None: it has so few bytes that a reader would refuse it."""
        picture, header = self.picture, header_of(self.picture, TileRate(0))
        everything = np.ones(grid(picture.height, picture.width), np.bool_)
        data = self.file(Streams(header, [drawn_section(picture.pixels, everything, header, self.options)]))
        return data if is_usual(header, len(data), drawn=True) else None
