"""Pictures of a batch that refer to earlier ones of it: which, and how long chains get."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.container.layout import MAX_REFERENCES
from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.options import LONGEST_CHAIN, EncodeOptions
from nicodec.references.library import Held

if TYPE_CHECKING:
    from nicodec.image.picture import Pixels

ALIKE = 0.4  # correlation of looks from which on an earlier picture is worth a try
TRIED = 2


@dataclass(frozen=True, eq=False)
class Earlier:
    """A finished file of a series: what it looks like, and how many others must be decoded before it."""

    held: Held
    look: bytes
    chain: int


@dataclass
class Series:
    """The finished files of a batch, by the folder that they lie in: names are looked for there."""

    done: dict[Path, list[Earlier]] = field(default_factory=dict)

    def options(self, options: EncodeOptions, pixels: Pixels, output: Path) -> EncodeOptions:
        """How to encode the next picture: with the earlier ones that it is most like, on top of what is given."""
        given = options.references if isinstance(options.references, tuple) else ()
        usable = [each for each in self.done.get(output.parent, []) if each.chain < LONGEST_CHAIN]
        if not usable:
            return options
        from nicodec.references.look import likenesses, look

        likeness = likenesses(look(pixels), [each.look for each in usable]).tolist()
        ranked = sorted(zip(likeness, usable, strict=True), key=lambda pair: -pair[0])
        near = [each.held for value, each in ranked if value >= ALIKE]
        found = tuple(near[: min(TRIED, MAX_REFERENCES - len(given))])
        return replace(options, references=(*given, *found)) if found else options

    def add(self, output: Path, data: bytes, pixels: Pixels) -> None:
        """Note a finished file."""
        from nicodec.references.look import look

        folder = self.done.setdefault(output.parent, [])
        chains = {each.held.id: each.chain for each in folder}
        referred = [chains.get(reference.id, 0) + 1 for reference in read_aligned(read_file(data))]
        held = Held.of(data, output.name, output.parent)
        folder.append(Earlier(held, look(pixels), max(referred, default=0)))
