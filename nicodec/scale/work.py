"""What is done to each file: encode, decode or verify, by options that are written as JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.errors import InputError, NicodecError, UsageError
from nicodec.options import PICTURES, DecodeOptions, EncodeOptions, parse_references, taus_of
from nicodec.references.library import MAX_CHAIN, Held
from nicodec.references.series import Series
from nicodec.zoo.model import Model

Beside = Callable[[str], bytes]  # what a file's neighbour of a name holds
Options = Mapping[str, Any]
CODED = frozenset({".nic"})


class Work(Protocol):
    """What is done to each file.

    Attributes:
        reads: suffixes of the files that it is for, lower case.
        writes: whether anything is made of them.
        keeps: whether outputs are needed where they were made until the shard is finished.
    """

    reads: frozenset[str]
    writes: bool
    keeps: bool

    def begin(self) -> None:
        """A new shard."""

    def name(self, place: str) -> str:
        """The output of an input; no two have one. Raises: InputError, it is for another name."""

    def __call__(self, data: bytes, output: Path, beside: Beside) -> tuple[str, ...]:
        """Write what becomes of the bytes to a file, if anything does; returns what is to be said of it."""


class Encode:
    """Pictures to .nic files. Raises: as `EncodeOptions`, and as `Model.named`."""

    reads, writes = PICTURES, True

    def __init__(self, options: Options) -> None:
        own = {"series", "strip", "allow_8bit", "allow_damaged", "references"}
        self.keeps, self.given = bool(options["series"]), options
        self.options = EncodeOptions(
            references=parse_references(options["references"]), **{k: v for k, v in options.items() if k not in own}
        )
        if self.keeps:
            self.options.check_referring()
        Model.named(self.options.model, device=self.options.device)
        self.begin()

    def begin(self) -> None:
        self.series = Series()

    def name(self, place: str) -> str:
        return f"{place}.nic"

    def __call__(self, data: bytes, output: Path, beside: Beside) -> tuple[str, ...]:
        from nicodec.codec import encode_picture
        from nicodec.image.files import read_picture

        tolerance = {name: self.given[name] for name in ("allow_8bit", "allow_damaged")}
        picture = read_picture(data, **tolerance).stripped(tuple(self.given["strip"]))
        if self.keeps:
            encoded = self.series.encode(picture, self.options, output)
        else:
            encoded = encode_picture(picture, self.options)
        output.write_bytes(encoded)
        return picture.notes


class Decode:
    """.nic files to pictures. Raises: as `DecodeOptions`; UsageError: several taus."""

    reads, writes, keeps = CODED, True, False

    def __init__(self, options: Options) -> None:
        own, led = {"strip", "kind", "taus", "scale", "memory_limit"}, taus_of(options["taus"], options["anchor"])
        limit = options["memory_limit"]
        if (count := len(led["taus"])) != 1:
            raise UsageError(f"{count} taus, one picture a file: give one tau")
        self.strip, self.suffix = tuple(options["strip"]), f".{options['kind'] or 'png'}"
        given = {k: v for k, v in options.items() if k not in own}
        self.options = DecodeOptions(
            **led,
            scale=int(options["scale"]),
            memory_limit=limit and int(limit),
            **given,
        )

    def begin(self) -> None:
        """Each file is for itself."""

    def name(self, place: str) -> str:
        if not place.endswith(".nic"):
            raise InputError("its name does not end in .nic; its picture's name could be another's")
        return place.removesuffix(".nic") + self.suffix

    def __call__(self, data: bytes, output: Path, beside: Beside) -> tuple[str, ...]:
        from nicodec.codec import decode_bytes
        from nicodec.image.files import write_picture

        held = tuple(referred(data, beside))
        picture = decode_bytes(data, replace(self.options, references=held))
        written, dropped = write_picture(picture.stripped(self.strip), self.suffix)
        output.write_bytes(written)
        return (*picture.notes, *dropped)


class Verify:
    """.nic files to nothing: what is not whole raises what it raises."""

    reads, writes, keeps = CODED, False, False

    def __init__(self, options: Options) -> None:
        self.max_pixels = options["max_pixels"]

    def begin(self) -> None:
        """Each file is for itself."""

    def name(self, place: str) -> str:
        return place

    def __call__(self, data: bytes, output: Path, beside: Beside) -> tuple[str, ...]:
        from nicodec.codec import verify_bytes

        unchecked = verify_bytes(data, self.max_pixels).unchecked
        return () if unchecked is None else (f"its symbols are not checked: {unchecked}",)


KINDS: dict[str, Callable[[Options], Work]] = {"encode": Encode, "decode": Decode, "verify": Verify}


def work_of(options: Options) -> Work:
    """The work that `do` names, with the other options, as JSON may have turned them. Raises: as the work."""
    return KINDS[options["do"]]({name: value for name, value in options.items() if name != "do"})


def referred(data: bytes, beside: Beside, chain: int = MAX_CHAIN) -> Iterator[Held]:
    """What lies beside a file of all that it, and that, refers to; who decodes says what is missing."""
    with contextlib.suppress(NicodecError):
        for reference in read_aligned(read_file(data)) if chain else ():
            if reference.name is not None:
                with contextlib.suppress(InputError):
                    held = Held.of(beside(reference.name), reference.name)
                    yield held
                    yield from referred(held.data, beside, chain - 1)
