"""Pictures of a batch that refer to others of it: in which order, to which, and how good each is made.

As in a film, pictures are coded from far apart to close together: of GROUP of them the first is a key, which refers to
none; the one in the middle may refer to the keys around it, those at the quarters to all of these, and so on. None
refers to what stands as close as itself, so no chain has more than LONGEST_CHAIN files. What others show parts of, or
build on, is worth more than its own look: it is made better, if real bytes say that it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.container.layout import MAX_REFERENCES, SectionType
from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.errors import MissingReferenceError, NicodecError
from nicodec.options import LONGEST_CHAIN, QUALITY_RANGE, EncodeOptions
from nicodec.rate.scale import quality_from_rate
from nicodec.references.library import Held, Library

if TYPE_CHECKING:
    from nicodec.image.picture import Picture, Pixels

GROUP = 1 << LONGEST_CHAIN
BETTER = {1: 0, 2: 8, 4: 14, 8: 22, 16: 30}  # quality that a picture has more, by its reach
ALIKE = 0.4  # correlation of looks from which on another picture is worth a try
TRIED = 2
PIXELS = (SectionType.REFERENCES, SectionType.SQ, SectionType.DRAWN, SectionType.ALPHA)  # no metadata, and no tokens
CLEAR = 0.8  # share of the bytes that a picture takes alone, below which a reference pays


See = Callable[[], "Picture"]


@dataclass(frozen=True)
class Place:
    """Where a picture stands in its series.

    Attributes:
        distance: pictures to the nearest that it may refer to: 1, 2, 4 .. GROUP, which is a key's.
        reach: as that, no more than there are pictures that may refer to it: how much better it may be made.
        ahead: reads one that may refer to it. None: there is none, or it is not known yet.
    """

    distance: int
    reach: int
    ahead: See | None = None


@dataclass
class Scene:
    """Pictures that look alike.

    Attributes:
        alone: bytes a pixel of the first one.
        pays: whether it takes clearly less to refer to one of them.
    """

    alone: float = 0.0
    pays: bool = False


@dataclass(frozen=True, eq=False)
class Kept:
    """A file of an earlier run.

    Attributes:
        refers: to others.
        better: than its own look is worth.
        see: reads its picture.
    """

    held: Held
    distance: int
    refers: bool
    better: bool
    see: See


@dataclass(frozen=True, eq=False)
class Coded:
    """A finished file of a series, and what it looks like."""

    held: Held
    look: bytes
    distance: int
    scene: Scene


@dataclass(frozen=True, eq=False)
class Next:
    """The next picture of a series: what it looks like, and the finished files that are like it, the likest first."""

    output: Path
    look: bytes
    place: Place
    alike: Sequence[Coded]


@dataclass
class Series:
    """The finished files of a batch, by the folder that they lie in: names are looked for there.

    Attributes:
        places: of those to come, by their output; what is not there comes in order.
        kept: files of an earlier run that nobody has looked at yet.
        lost: such files that nobody can decode, for what they refer to is not there.
    """

    places: Mapping[Path, Place] = field(default_factory=dict)
    done: dict[Path, list[Coded]] = field(default_factory=dict)
    kept: dict[Path, list[Kept]] = field(default_factory=dict)
    lost: set[Path] = field(default_factory=set)

    def encode(self, picture: Picture, options: EncodeOptions, output: Path) -> bytes:
        """The next picture's file, noted. Raises: as `codec.encode_picture`."""
        from nicodec.codec import encode_picture

        coming = self.next(picture.pixels, output)
        better = replace(options, quality=min(options.quality + BETTER[coming.place.reach], QUALITY_RANGE[1]))
        scene = coming.alike[0].scene if coming.alike else Scene()
        data = encode_picture(picture, self.options(better if scene.pays else options, coming))
        if not coming.alike and _pays(data, options, coming):
            scene.pays = True
            data = encode_picture(picture, self.options(better, coming))
        density = _streams(data) / (picture.width * picture.height)
        scene.alone = scene.alone or density
        scene.pays |= density < CLEAR * scene.alone
        self.add(coming, data, scene)
        return data

    def next(self, pixels: Pixels, output: Path) -> Next:
        """A picture that is to be coded."""
        from nicodec.references.look import likenesses, look

        self._look_at_kept(output.parent)
        own, done = look(pixels), self.done.get(output.parent, [])
        distance = distance_of(len(done))
        place = self.places.get(output) or Place(distance, distance)
        likeness = likenesses(own, [each.look for each in done]).tolist() if done else []
        ranked = sorted(zip(likeness, done, strict=True), key=lambda pair: -pair[0])
        return Next(output, own, place, [each for value, each in ranked if value >= ALIKE])

    def options(self, options: EncodeOptions, coming: Next) -> EncodeOptions:
        """How to encode it: with those that it may refer to, and is most like, on top of what is given."""
        given = options.references if isinstance(options.references, tuple) else ()
        near = [each.held for each in coming.alike if each.distance > coming.place.distance]
        found = tuple(near[: min(TRIED, MAX_REFERENCES - len(given))])
        return replace(options, references=(*given, *found)) if found else options

    def add(self, coming: Next, data: bytes, scene: Scene | None = None) -> None:
        """Note its file."""
        held = Held.of(data, coming.output.name, coming.output.parent)
        coded = Coded(held, coming.look, coming.place.distance, scene or Scene())
        self.done.setdefault(coming.output.parent, []).append(coded)

    def keep(self, output: Path, options: EncodeOptions, see: See) -> bool:
        """Whether a file of an earlier run stays as it is: what it refers to is there. Others may then refer to it.

        `see`: reads its picture.
        """
        given = options.references if isinstance(options.references, tuple) else ()
        try:
            held = Held.given(output)
            file = read_file(held.data)
            Library(_never, given, [output.parent], options.dictionaries).check(file)
        except MissingReferenceError:
            self.lost.add(output)
            return False
        except NicodecError:  # it is something else, or damaged: nothing that was made here
            return True
        place = self.places.get(output)
        if place is not None:
            better = quality_from_rate(file.header.rate) > options.quality + 0.5
            kept = Kept(held, place.distance, bool(read_aligned(file)), better, see)
            self.kept.setdefault(output.parent, []).append(kept)
        return True

    def _look_at_kept(self, folder: Path) -> None:
        from nicodec.references.look import look

        scene = Scene()
        for kept in self.kept.pop(folder, []):
            scene = scene if kept.refers else Scene()
            scene.pays |= kept.better
            with suppress(NicodecError):
                coded = Coded(kept.held, look(kept.see().pixels), kept.distance, scene)
                self.done.setdefault(folder, []).append(coded)


def _never(data: bytes, library: Library) -> Pixels:
    raise AssertionError("files are checked without being decoded")


def _streams(data: bytes) -> int:
    """Bytes of a file that its pixels take."""
    file = read_file(data)
    return sum(len(file.payload(kind) or b"") for kind in PIXELS)


def _pays(data: bytes, options: EncodeOptions, coming: Next) -> bool:
    """Whether the one ahead takes clearly less with this picture's file than alone."""
    if coming.place.ahead is None:
        return False
    from nicodec.codec import encode_picture
    from nicodec.references.look import likenesses, look

    try:
        ahead = coming.place.ahead()
        if likenesses(coming.look, [look(ahead.pixels)])[0] < ALIKE:
            return False
        alone, referring = (
            _streams(encode_picture(ahead, replace(options, references=used))) for used in ("off", (Held.of(data),))
        )
    except NicodecError:  # whose turn it is will hear of it
        return False
    return referring < CLEAR * alone


# --- which comes when


@dataclass(frozen=True)
class Turn:
    """A picture's turn: its index, its distance and reach, and the index of the one that is looked at ahead, if any."""

    index: int
    distance: int
    reach: int
    ahead: int | None


def turns(outputs: Sequence[Path]) -> list[Turn]:
    """The turns of pictures, folder by folder, in coding order."""
    folders: dict[Path, list[int]] = {}
    for index, output in enumerate(outputs):
        folders.setdefault(output.parent, []).append(index)
    return [
        Turn(own[at], distance_of(at), _reach(at, len(own)), own[ahead] if (ahead := _ahead(at, len(own))) else None)
        for own in folders.values()
        for at in coding_order(len(own))
    ]


def distance_of(index: int) -> int:
    """That of a picture by its index in the series: the largest power of two that divides it, at most GROUP."""
    return min(index & -index, GROUP) or GROUP


def coding_order(count: int) -> Iterator[int]:
    """Indices of a series: each key, then what lies between it and the one before."""
    yield from range(min(count, 1))
    for start in range(0, count, GROUP):
        yield from (index for index in (start + GROUP, *_between(start, GROUP // 2)) if index < count)


def _between(start: int, half: int) -> Iterator[int]:
    if half:
        yield start + half
        yield from _between(start, half // 2)
        yield from _between(start + half, half // 2)


def _reach(index: int, count: int) -> int:
    """Between two keys there is work for both; the first of a short series has few that refer to it."""
    return distance_of(index) if index else min(GROUP, 1 << (count - 1).bit_length())


def _ahead(index: int, count: int) -> int | None:
    """The furthest picture that may refer to this one alone."""
    half = distance_of(index) // 2
    while half and index + half >= count:
        half //= 2
    return index + half if half else None
