"""Our own base at work on files: references, MoDE's anchors and the fuser, and which parts of a model they take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from nicodec.bases import Checked
from nicodec.container.layout import Anchor, Box, References, SectionType, TokenStreams
from nicodec.container.payloads import read_references, read_tokens
from nicodec.container.reader import NicFile
from nicodec.container.references import read_aligned, trust_of
from nicodec.entropy.symbols import TileSymbols
from nicodec.errors import CorruptFileError, MissingStreamError
from nicodec.image.picture import Pixels
from nicodec.painters import PLAIN, Rendering
from nicodec.streams import NOBODY, attempt, decode_symbols
from nicodec.zoo.model import Model

if TYPE_CHECKING:
    from nicodec.dictionary.conditioning import Referred
    from nicodec.painters.experts import Experts
    from nicodec.painters.fuser import Fuser
    from nicodec.painters.synthesis import Synthesis
    from nicodec.references.expect import Sources
    from nicodec.references.library import Library
    from nicodec.references.warp import Aligned


class OwnDecoder:
    """A model at work on a file, see `bases.Decoder`.

    Args:
        engine, device: as in `DecodeOptions`.
        damage: where to note what is damaged, instead of raising.
        library: where the pictures are that the file refers to.
    """

    def __init__(
        self, file: NicFile, engine: str = "auto", device: str = "auto", rendering: Rendering = PLAIN,
        damage: list[str] | None = None, library: Library | None = None,
    ) -> None:  # fmt: skip
        self.file, self.engine, self.device, self.rendering, self.damage = file, engine, device, rendering, damage
        self.library = library

    @cached_property
    def tokens(self) -> TokenStreams | None:
        """The file's."""
        return attempt(lambda: read_tokens(self.file, self.damage), self.damage)

    @cached_property
    def references(self) -> References | None:
        """What the file says of them."""
        return attempt(lambda: read_references(self.file), self.damage)

    @cached_property
    def model(self) -> Model:
        """The parts that the file names."""
        ids = {"base": self.file.header.base_id}
        if self.tokens is not None:
            ids[self.tokens.kind] = self.tokens.part_id
        if self.references is not None:
            ids["dictionary"] = self.references.dictionary_id
        return Model.installed(ids, self.engine, self.device)

    @cached_property
    def referred(self) -> Referred:
        """What the file's references make of the model: all that knows them is in here."""
        from nicodec.dictionary.conditioning import Referred, restore

        plain, references = Referred(self.model.base, self.model.mode), self.references
        if references is None:
            return plain
        return attempt(lambda: restore(references, self.model), self.damage) or plain

    @cached_property
    def aligned(self) -> tuple[Aligned, ...] | None:
        """The pictures that the file refers to, decoded; None where it is damaged and does not say which.

        Raises:
            MissingReferenceError: one is not there.
            LimitError, CorruptFileError: see `Library.check`.
        """
        from nicodec.references.expect import lay

        wanted, library = attempt(lambda: read_aligned(self.file), self.damage), self.library
        if not wanted:
            return None if self.file.header.referring else ()
        assert library is not None
        return tuple(lay(library.pixels(each), each.alignment, self.file.header) for each in wanted)

    @cached_property
    def sources(self) -> Sources:
        """What the picture was coded beside. Raises: as `Model.trust`, then as `aligned`."""
        from nicodec.references.expect import Sources

        named = attempt(lambda: trust_of(self.file), self.damage)
        trust = None if named is None else self.model.trust(named)
        return Sources(self.aligned or (), trust)

    @cached_property
    def synthesis(self) -> Synthesis:
        """What paints the rendering."""
        from nicodec.painters.synthesis import Synthesis

        sources = self.sources
        experts = self.experts(self.rendering.anchor)
        if max(self.rendering.taus) > 0 and not (experts.texture and self.model.trained("fuser") is None):
            experts = replace(experts, fuser=self.fuser())
        return Synthesis(self.file.header, experts, self.tokens.depth if self.tokens else 0, sources)

    def parse(self, crop: Box) -> dict[Box, TileSymbols]:
        """As `Decoder`."""
        painter = self.synthesis
        wanted = self.tokens if painter.experts.tokens else None
        if SectionType.SQ in self.file.sections:
            self.model.base.prepare(mapped=self.file.header.mapped, trust=painter.sources.trust)
        needed = painter.needed(crop)
        with painter.foresee() if len(needed) == 1 else nullcontext(NOBODY) as listener:  # several overlap anyway
            parsed = decode_symbols(self.file, self.model, wanted, needed, self.damage, listener)
        if self.damage and (self.aligned is None or not any(held.size for held in parsed.values())):
            raise CorruptFileError(f"nothing of the picture can be read: {self.damage[0]}")
        return parsed

    def synthesise(self, parsed: Mapping[Box, TileSymbols], crop: Box) -> list[Pixels]:
        """As `Decoder`."""
        return self.synthesis.paint(parsed, crop, self.rendering)

    def verify(self) -> Checked:
        """As `Decoder`: no network is loaded."""
        return Checked(sum(held.size for held in self.symbols().values()))

    def symbols(self) -> dict[Box, TileSymbols]:
        """Of all tiles, tokens included, whatever the rendering needs. Raises: as `decode_symbols`."""
        return decode_symbols(self.file, self.model, self.tokens, None, self.damage)

    def experts(self, anchor: Anchor) -> Experts:
        """The networks that paint the picture, without a fuser; with those for tokens if these take part.

        Tokens take no part where the fidelity anchor is asked for and the means to use them are not installed; those of
        texture never do. In a file of version 2 the base paints for both anchors; where tau leads it to, they texture.

        Raises:
            MissingStreamError: asked for perception, and the file has no tokens.
            MissingPartError, DamagedPartError: see `codec.decode_taus`.
            UsageError: the device is not there.
        """
        from nicodec.painters.experts import Experts

        model = self.model
        if self.tokens is None and not self.damage and anchor is Anchor.PERCEPTION and self.file.header.version == 1:
            raise MissingStreamError(
                "the file has no tokens, so there is nothing to anchor perception on; decode with --anchor fidelity, "
                "or encode the picture again with --streams sq+vq"
            )
        base, mode = self.referred.base, self.referred.mode
        if self.tokens is not None and self.tokens.kind == "texture":
            return Experts(base, texture=model.texture if anchor is Anchor.PERCEPTION else None)
        lone = mode is None and anchor is Anchor.FIDELITY and SectionType.SQ in self.file.sections and not self.damage
        return Experts(base) if self.tokens is None or lone else Experts(base, model.tokens, mode)

    def fuser(self) -> Fuser:
        """The fuser trained on the base that the file names.

        Raises:
            MissingStreamError: the file has no latents for it to work on.
            MissingPartError, DamagedPartError: it is not installed, or not whole.
        """
        if SectionType.SQ not in self.file.sections:
            raise MissingStreamError("the file has no latents, so tau has nothing to work on; decode with --tau 0")
        return self.model.fuser
