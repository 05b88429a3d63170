"""Our own base at work on pictures: latents and tokens of a model's networks, references, quality maps.

What references say of a picture is known in one place a direction, `OwnEncoder.refer` and `OwnDecoder.referred`; a
`Referred` tells coding and synthesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nicodec.bases import Streams, header_of
from nicodec.container.layout import Anchor, Hint, Prior, Section, SectionType, Tune
from nicodec.container.writer import write_texture, write_tiles, write_tokens
from nicodec.entropy.symbols import TileSymbols
from nicodec.errors import MissingPartError, UsageError
from nicodec.image.picture import Picture
from nicodec.options import EncodeOptions
from nicodec.rate.map import contrast_levels, mask_levels, total
from nicodec.rate.tile import Levels, TileRate
from nicodec.streams import code_latent, code_tokens
from nicodec.zoo.model import Model

if TYPE_CHECKING:
    from nicodec.dictionary.conditioning import Referred
    from nicodec.drawing import Bits
    from nicodec.latents.analysis import Analysed
    from nicodec.latents.floats import FloatPath
    from nicodec.latents.wording import Wording
    from nicodec.references.refer import Offered

DOUBTING = 4  # effort from which on trust takes part: it makes coding and decoding longer, for a hundredth of the bytes
ONLY_LATENTS = (
    "a file of a model with several tunes, with a quality map, or with tokens of texture, has neither those of a vq "
    "part nor a dictionary part's references"
)


@dataclass(frozen=True, eq=False)
class Analysis:
    """A picture, and what no rate changes of it: its tiles in order, and the quality map of all of its blocks."""

    picture: Picture
    tiles: Iterable[Analysed]
    levels: Levels | None


@dataclass(frozen=True)
class Anew:
    """Tiles that are analysed anew whenever they are walked through, so that none need be held."""

    analyse: Callable[[], Iterator[Analysed]]

    def __iter__(self) -> Iterator[Analysed]:
        return self.analyse()


@dataclass(frozen=True, eq=False)
class OwnStreams(Streams):
    """And what they were made with: the base as references made it, and the symbols if they were to be kept."""

    base: FloatPath
    symbols: Sequence[TileSymbols]


@dataclass(frozen=True, eq=False)
class ReferringStreams(Streams):
    """Of a file that refers to pictures.

    Attributes:
        clear: whether it is clearly less than without them.
        symbols: of each tile.
        errors: of each block in bits, as a plain decode shows it: (rows, columns).
        used: the references.
    """

    clear: bool
    symbols: Sequence[TileSymbols]
    errors: Bits
    used: Sequence[Offered]


class OwnEncoder:
    """A model at work on pictures, see `bases.Encoder`.

    Raises:
        MissingPartError, DamagedPartError: the model is not whole, or has no VQ part.
        UsageError: more bits a token than the codebook has; the device is not there.
    """

    def __init__(self, model: Model, options: EncodeOptions) -> None:
        self.model, self.options = model, options
        self.tune = Tune[options.tune.upper()] if model.base.tunes > 1 else None
        version = 1 if self.tune is None and options.roi is None else 2
        self.tokens = kind_of_tokens(options, model.ids, version)
        self.version = 2 if self.tokens == "texture" else version
        self.scales = model.scales if options.streams != "vq" else None
        self.vq = model.tokens if self.tokens == "vq" else None
        self.prior = model.prior(self.tokens) if self.tokens else None
        deepest = self.prior.bits if self.prior else 0
        self.depth = deepest if options.token_bits is None else options.token_bits
        self.kind = Prior.STATIC if options.robust or self.scales is None else Prior.SQ
        self.refers = self.scales is not None and self.version == 1 and model.refers
        if isinstance(options.references, int) and not self.refers:
            if self.version > 1:
                raise UsageError(f"{ONLY_LATENTS}; encode with --references off, or with another --model")
            raise MissingPartError(
                f"model {options.model} has no dictionary that a latent can refer to; encode with --references off"
            )
        if options.recommend and "texture" not in model.ids:
            raise MissingPartError(f"model {options.model} has no texture part, by which a tau is chosen")
        if options.recommend and self.tokens is None and self.version == 1:
            raise UsageError("a file of latents alone, of a model with one tune, has no perception anchor to recommend")
        if self.prior and self.depth > deepest:
            raise UsageError(f"token bits are {self.depth}, expected 1..{deepest} with model {options.model}")

    def alone(self) -> OwnEncoder:
        """The same model's latents without tokens and references."""
        return OwnEncoder(self.model, replace(self.options, streams="sq", references="off"))

    def analyse(self, picture: Picture, keep: bool = False) -> Analysis:
        """As `Encoder`: each tile as it is asked for. `keep`: all of them, for several files."""
        from nicodec.latents.analysis import analyse

        found = Anew(partial(analyse, picture, self.model.base, self.vq, self.depth))
        return Analysis(picture, list(found) if keep else found, self.levels(picture))

    def code(self, analysed: Analysis, rate: int, referred: Referred | None = None, keep: bool = False) -> OwnStreams:
        """As `Encoder`: tile by tile.

        Args:
            referred: None: as `refer` says.
            keep: the symbols.

        Raises:
            InexactError: the symbols do not come back from the stream (with `options.verify`).
        """
        of_blocks = TileRate(rate, self.tune or 0, analysed.levels)
        referred = referred or self.refer(analysed.picture, rate)
        symbols = self.symbols(analysed.tiles, referred, of_blocks)
        kept = list(symbols) if keep else []
        sections = [*referred.sections, *self.sections(kept if keep else symbols)]
        header = header_of(
            analysed.picture, of_blocks, self.model.ids["base"], self.version, self.tune, self.hint
        )  # fmt: skip
        return OwnStreams(header, sections, referred.base, kept)

    def code_referring(self, analysed: Analysis, rate: int, offered: Sequence[Offered]) -> ReferringStreams | None:
        """As `code`, with what saves bits of the pictures that are offered; None: nothing does."""
        from nicodec.references.refer import refer, section
        from nicodec.references.shown import show

        assert self.scales is not None
        of_blocks = TileRate(rate, self.tune or 0, analysed.levels)
        effort = self.options.effort
        part = self.model.trained("trust") if effort >= DOUBTING else None
        trust = None if part is None else self.model.trust(part.id)
        found = refer(analysed.tiles, offered, self.model.base, self.scales, of_blocks, effort, trust)
        if found is None:
            return None
        header = header_of(analysed.picture, of_blocks, self.model.ids["base"], tune=self.tune, hint=self.hint)
        header = replace(header, referring=True)
        shown = show(analysed.picture, found, header, self.model.base, self.model.weight(rate))
        named = section(found.used, shown.says, part.id if part and found.doubted else None)
        sections = [named, *self.sections(shown.symbols)]
        return ReferringStreams(header, sections, found.clear, shown.symbols, shown.errors, found.used)

    @property
    def hint(self) -> Hint | None:
        """A place for what `nicodec.recommend` finds."""
        return Hint(Anchor.PERCEPTION, 0) if self.options.recommend else None

    def levels(self, picture: Picture) -> Levels | None:
        """The quality map of all of a picture's blocks: by its mask, and in tune `eye` by its contrast."""
        roi, parts = self.options.roi, []
        if self.tune is Tune.EYE:
            parts.append(contrast_levels(picture.pixels))
        if roi is not None:
            parts.append(mask_levels(roi, picture.height, picture.width))
        return total(*parts) if parts else None

    @property
    def plain(self) -> Referred:
        """The base itself, without references."""
        from nicodec.dictionary.conditioning import Referred

        return Referred(self.model.base)

    def refer(self, picture: Picture, rate: int) -> Referred:
        """What a picture is coded with, if references may pay or are asked for: all that knows them is in here."""
        from nicodec.dictionary.conditioning import refer

        wanted = self.options.references
        if not self.refers or wanted == "off":
            return self.plain
        return refer(picture, self.model, rate, wanted if isinstance(wanted, int) else None)

    def symbols(self, tiles: Iterable[Analysed], referred: Referred, rate: TileRate) -> Iterable[TileSymbols]:
        """The symbols of each tile in order: all that floats decide. `rate`: of all blocks."""
        from nicodec.latents.analysis import choose_symbols

        effort, wording = self.options.effort, self.wording
        return (choose_symbols(held, referred.base, self.scales, rate, effort, wording) for held in tiles)

    @property
    def wording(self) -> Wording | None:
        """How tokens of texture are chosen, where there are any."""
        from nicodec.latents.wording import Wording

        if self.tokens != "texture":
            return None
        assert self.prior is not None
        return Wording(self.model.texture, self.prior, self.depth)

    def sections(self, symbols: Iterable[TileSymbols]) -> list[Section]:
        """The SQ section, that of tokens, or both. Raises: as `code`."""
        sq_tiles, token_tiles = [], []
        for held in symbols:
            if self.scales and held.latent:
                sq_tiles.append(code_latent(self.scales, held.latent, self.options.verify))
            if self.prior and held.tokens is not None:
                seen = held.latent if self.kind is Prior.SQ else None
                token_tiles.append(code_tokens(self.prior, held.tokens, self.depth, seen, self.options.verify))
        sections = [Section(SectionType.SQ, write_tiles(sq_tiles))] if sq_tiles else []
        if token_tiles and self.tokens == "texture":
            payload = write_texture(self.model.ids["texture"], self.depth, token_tiles)
            sections.append(Section(SectionType.TEXTURE, payload))
        elif token_tiles:
            payload = write_tokens(self.model.ids["vq"], self.kind, self.depth, token_tiles)
            sections.append(Section(SectionType.VQ, payload))
        return sections


def kind_of_tokens(options: EncodeOptions, parts: Mapping[str, bytes], version: int) -> str | None:
    """`texture`, `vq` or none, as they are asked for, or as the model and this version of the format have them.

    Those of texture mean nothing without the latent that they go with, and stand in files of version 2.

    Raises:
        MissingPartError: the model has no such part.
        UsageError: version 2, and tokens of a VQ part.
    """
    if options.streams == "sq":
        return None
    first_alone = options.streams == "vq" or options.robust or isinstance(options.references, int)
    if "texture" in parts and not first_alone:
        return "texture"
    if options.streams is None and not options.robust:
        return "vq" if "vq" in parts and version == 1 else None
    if version > 1:
        raise UsageError(f"{ONLY_LATENTS}; encode without --streams vq and --robust, or with another --model")
    if "vq" not in parts:
        raise MissingPartError(
            f"model {options.model} has no vq part; encode without --streams vq and --robust, or with another --model"
        )
    return "vq"
