"""Pictures of a batch that refer to earlier ones of it: which, how long chains get, and which are coded better for it.

As in a film, a picture that others show parts of, or build on, is worth more than its own look: every few pictures of
a scene one is a **key**, coded at a higher quality. A scene is known by real bytes: its second picture takes far fewer
than its first one did.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.container.layout import MAX_REFERENCES
from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.options import KEY_EVERY, LONGEST_CHAIN, QUALITY_RANGE, EncodeOptions
from nicodec.references.library import Held

if TYPE_CHECKING:
    from nicodec.image.picture import Picture, Pixels

ALIKE = 0.4  # correlation of looks from which on an earlier picture is worth a try
TRIED = 2
BETTER = 20  # quality that a key has more
CLEAR = 0.8  # share of the bytes that its scene's first picture took alone, below which a picture is of that scene


@dataclass
class Scene:
    """Pictures of a series that show the same.

    Attributes:
        alone: bytes a pixel of the first one.
        since: how many came after the last key; None: there was none.
        depth: chain of the last key; 0: there was none.
    """

    alone: float
    since: int | None = None
    depth: int = 0

    def wants_key(self, density: float) -> bool:
        """Whether the next picture, of so many bytes a pixel, should be one."""
        return density < CLEAR * self.alone if self.since is None else self.since >= KEY_EVERY - 1


@dataclass(frozen=True, eq=False)
class Earlier:
    """A finished file of a series: what it looks like, and how many others must be decoded before it."""

    held: Held
    look: bytes
    chain: int
    scene: Scene


@dataclass
class Series:
    """The finished files of a batch, by the folder that they lie in: names are looked for there."""

    done: dict[Path, list[Earlier]] = field(default_factory=dict)

    def encode(self, picture: Picture, options: EncodeOptions, output: Path) -> bytes:
        """The next picture's file, noted; a key's is of a higher quality. Raises: as `codec.encode_picture`."""
        from nicodec.codec import encode_picture

        data = encode_picture(picture, self.options(options, picture.pixels, output))
        scene = self._scene(data, picture.pixels, output)
        if is_key := scene.wants_key(_density(data, picture.pixels)):
            better = replace(options, quality=min(options.quality + BETTER, QUALITY_RANGE[1]))
            longest = scene.depth + 1 if scene.depth + 1 < LONGEST_CHAIN else 0  # others are to refer to it
            data = encode_picture(picture, self.options(better, picture.pixels, output, longest))
        self._add(output, data, picture.pixels, scene, is_key)
        return data

    def options(
        self, options: EncodeOptions, pixels: Pixels, output: Path, longest: int = LONGEST_CHAIN
    ) -> EncodeOptions:
        """How to encode the next picture: with the earlier ones that it is most like, on top of what is given.

        Args:
            longest: chain that this may make; 0: with none.
        """
        given = options.references if isinstance(options.references, tuple) else ()
        usable = [each for each in self._earlier(output) if each.chain < longest]
        if not usable:
            return options
        from nicodec.references.look import likenesses, look

        likeness = likenesses(look(pixels), [each.look for each in usable]).tolist()
        ranked = sorted(zip(likeness, usable, strict=True), key=lambda pair: -pair[0])
        near = [each.held for value, each in ranked if value >= ALIKE]
        found = tuple(near[: min(TRIED, MAX_REFERENCES - len(given))])
        return replace(options, references=(*given, *found)) if found else options

    def add(self, output: Path, data: bytes, pixels: Pixels) -> None:
        """Note a finished file, which is no key."""
        self._add(output, data, pixels, self._scene(data, pixels, output), is_key=False)

    def _add(self, output: Path, data: bytes, pixels: Pixels, scene: Scene, is_key: bool) -> None:
        from nicodec.references.look import look

        chain = max((each.chain + 1 for each in self._referred(data, output)), default=0)
        if is_key:
            scene.since, scene.depth = 0, chain
        elif scene.since is not None:
            scene.since += 1
        held = Held.of(data, output.name, output.parent)
        self.done.setdefault(output.parent, []).append(Earlier(held, look(pixels), chain, scene))

    def _scene(self, data: bytes, pixels: Pixels, output: Path) -> Scene:
        """That of what a file refers to; a new one, if that is nothing."""
        referred = self._referred(data, output)
        return referred[0].scene if referred else Scene(_density(data, pixels))

    def _referred(self, data: bytes, output: Path) -> list[Earlier]:
        ids = {reference.id for reference in read_aligned(read_file(data))}
        return [each for each in self._earlier(output) if each.held.id in ids]

    def _earlier(self, output: Path) -> list[Earlier]:
        return self.done.get(output.parent, [])


def _density(data: bytes, pixels: Pixels) -> float:
    """Bytes a pixel."""
    return len(data) / (pixels.shape[0] * pixels.shape[1])
