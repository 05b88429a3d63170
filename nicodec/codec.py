"""The story: a picture to the bytes of a .nic file, and back.

::

    Picture ─ tiles ─► g_a, h_a ─► z_hat, symbols ─► range coder ─► SQ section ─┐
       │                └─► tokenizer ─► tokens ─► range coder ─► VQ section ───┤
       ├──────────────── blocks that are cheaper to keep exactly ─► DRAWN section ───┤
       └─────────────────────────────────────► alpha, ICC, EXIF, XMP sections ──┴─► .nic
    Picture ◄─ tiles ◄─ experts ◄─┬─ [fuser, tau] ◄─ y_hat ◄─ z_hat, symbols ◄─ range decoder ◄─ SQ section ◄─ .nic
                                  └─ code vectors ◄─ tokens ◄─ range decoder ◄─ VQ section ◄─────────────────────┘
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import (
    MAGIC,
    NO_BASE,
    Anchor,
    Box,
    Colour,
    Header,
    Section,
    SectionType,
    TokenStreams,
    Tune,
)
from nicodec.container.limits import check_declared, check_size, is_usual
from nicodec.container.reader import NicFile, read_file, read_packed, read_references, read_tokens
from nicodec.container.references import read_aligned
from nicodec.container.writer import write_file, write_packed
from nicodec.drawing import drawn_section, guess
from nicodec.entropy.symbols import TileSymbols
from nicodec.errors import CorruptFileError, MissingStreamError, UsageError
from nicodec.foreign import decode_foreign, encode_foreign, find_foreign, verify_foreign
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.image.drawn import Drawn, blank, grid, unpack_drawn
from nicodec.image.picture import Picture, Pixels
from nicodec.memory import check_memory, says_when_memory_ends
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.rate.tile import Levels, TileRate
from nicodec.streams import StreamEncoder, attempt, decode_symbols
from nicodec.zoo.store import find_package, find_part, find_trained, missing

if TYPE_CHECKING:
    from nicodec.latents.analysis import Analysed
    from nicodec.painters.experts import Experts
    from nicodec.painters.fuser import Fuser
    from nicodec.references.library import Library
    from nicodec.references.refer import Offered
    from nicodec.references.warp import Aligned

METADATA = {"icc": SectionType.ICC, "exif": SectionType.EXIF, "xmp": SectionType.XMP}


@says_when_memory_ends
def encode_picture(picture: Picture, options: EncodeOptions) -> bytes:
    """Encode a picture to the bytes of a .nic file.

    Raises:
        LimitError: more pixels, or longer sides, than a file may declare.
        MissingPartError, DamagedPartError: the model is not installed, or not whole, or has no VQ part.
        UsageError: more bits a token than the codebook has.
        InexactError: the symbols do not come back from the stream (with `options.verify`).
    """
    check_size(picture.width, picture.height)
    encoder = PictureEncoder(picture, options, several=options.refers)
    if (foreign := find_foreign(options)) is not None:
        header = _header(picture, TileRate(0), NO_BASE, version=2)
        return write_file(header, [encode_foreign(picture, foreign, options.device, options.verify), *encoder.kept])
    return encoder.encode(options.quality)


def encode_at(picture: Picture, options: EncodeOptions) -> Callable[[float], bytes]:
    """Analyse a picture once, to encode it at several qualities: what gives its file at one.

    Raises:
        UsageError: another codec's base, which knows no quality.
        As `encode_picture`.
    """
    check_size(picture.width, picture.height)
    if find_foreign(options) is not None:
        raise UsageError("another codec's weights have one quality; encode without a target")
    return PictureEncoder(picture, options, several=True).encode


class PictureEncoder:
    """A picture, and what no quality changes in its files: made once each, and not before it is asked for.

    Args:
        several: files are to be made, so what the analysis makes of all tiles is kept.
    """

    def __init__(self, picture: Picture, options: EncodeOptions, *, several: bool) -> None:
        self.picture, self.options, self.several = picture, options, several

    @cached_property
    def streams(self) -> StreamEncoder:
        """The model's parts."""
        return StreamEncoder(self.options)

    @cached_property
    def levels(self) -> Levels | None:
        """The quality map."""
        return self.streams.levels(self.picture)

    @cached_property
    def analysed(self) -> Iterable[Analysed]:
        """Each tile in order."""
        analysed = self.streams.analyse(self.picture)
        return list(analysed) if self.several else analysed

    @cached_property
    def kept(self) -> list[Section]:
        """What is kept without loss beside the pixels: alpha and metadata."""
        picture = self.picture
        alpha = [] if picture.alpha is None else [Section(SectionType.ALPHA, pack_alpha(picture.alpha))]
        blocks = {kind: getattr(picture, name) for name, kind in METADATA.items()}
        return alpha + [Section(kind, write_packed(block)) for kind, block in blocks.items() if block]

    @cached_property
    def drawn(self) -> bytes | None:
        """The file that draws all of the picture; None: it has so few bytes that a reader would refuse it."""
        picture, header = self.picture, _header(self.picture, TileRate(0), NO_BASE, version=2)
        everything = np.ones(grid(picture.height, picture.width), np.bool_)
        data = write_file(header, [drawn_section(picture.pixels, everything, header, self.options), *self.kept])
        return data if is_usual(header, len(data), drawn=True) else None

    @cached_property
    def offered(self) -> list[Offered]:
        """The pictures that it may refer to, laid under it."""
        from nicodec.references.refer import offer

        return offer(self.picture, self.options, partial(decode_reference, self.options.engine, self.options.device))

    def encode(self, quality: float) -> bytes:
        """The file at a quality: of those with and without references, the one of less bits and error.

        Raises: as `encode_picture`.
        """
        alone = self.encode_alone(quality)
        if not (self.options.refers and self.offered):
            return alone
        from nicodec.references.refer import encode_referring, lighter

        rate = TileRate(rate_from_quality(quality), self.streams.tune or 0, self.levels)
        header = _header(self.picture, rate, self.streams.parts["base"].id, version=2, tune=self.streams.tune)
        referring = encode_referring(self.analysed, self.offered, self.streams, rate, header, self.kept)
        if referring is None:
            return alone
        return lighter(self.picture, alone, referring, partial(decode_alone, self.offered, self.options))

    def encode_alone(self, quality: float) -> bytes:
        """The file without such references. No network is loaded where none is needed. Raises: as `encode_picture`."""
        picture, options = self.picture, self.options
        find_package(options.model)
        number = rate_from_quality(quality)
        guessed = guess(picture.pixels, options, number)
        if guessed.mask.all() and self.drawn:
            return self.drawn
        if guessed.mask.any():
            from nicodec.weighing import mix

            header = _header(picture, TileRate(number), NO_BASE, version=2)
            return mix(picture, guessed.mask, header, options, self.kept).data
        streams, rate = self.streams, TileRate(number, self.streams.tune or 0, self.levels)
        referred = streams.refer(picture, number)
        symbols: Iterable[TileSymbols] = streams.symbols(self.analysed, referred.base, rate)
        drawn = None if guessed.sketch is None else self.drawn
        if drawn is not None:
            symbols = list(symbols)
        header = _header(picture, rate, streams.parts["base"].id, streams.version, streams.tune)
        plain = write_file(header, [*referred.sections, *streams.sections(symbols, number), *self.kept])
        if guessed.sketch is None or drawn is None:
            return plain
        from nicodec.weighing import Coded, lightest

        coded = Coded(plain, header, referred.base, list(symbols))
        return lightest(picture, guessed.sketch, coded, drawn, streams, self.kept)


def _header(picture: Picture, rate: TileRate, base_id: bytes, version: int, tune: Tune | None = None) -> Header:
    colour, mapped = Colour.GREY if picture.grey else Colour.RGB, rate.levels is not None
    size = picture.width, picture.height
    return Header(*size, colour, 8, rate.rate, base_id, version=version, tune=tune, mapped=mapped)


def decode_bytes(data: bytes, options: DecodeOptions) -> Picture:
    """Decode the bytes of a .nic file at the first tau. Raises: as `decode_taus`."""
    return decode_taus(data, options)[0]


@says_when_memory_ends
def decode_taus(data: bytes, options: DecodeOptions) -> list[Picture]:
    """Decode the bytes of a .nic file, a picture for each tau; what does not depend on tau is done once.

    Raises:
        NotNicodecError, UnsupportedVersionError, CorruptFileError, LimitError: see `container.reader.read_file`.
        MissingPartError, DamagedPartError: a part that is needed is not installed, or not whole.
        MissingStreamError: asked for perception, and the file has no tokens; or for a tau, and it has no latents.
        InexactError: the symbols' CRC does not hold.
        UsageError: the crop is not inside the picture.
        OutOfMemoryError: the machine does not give what it takes.
    """
    damage: list[str] | None = [] if options.best_effort else None
    file = read_file(data, damage)
    header = file.header
    check_declared(file, options.max_pixels)
    whole = Box(0, 0, header.width, header.height)
    crop = Box(*options.crop) if options.crop else whole
    if crop.common(whole) != crop:
        raise UsageError(
            f"the crop {crop.width}x{crop.height} at ({crop.left}, {crop.top}) is not inside the picture, which is "
            f"{header.width}x{header.height}"
        )
    check_memory(file, options, crop)
    painted = decode_pixels(file, data, options, crop, damage)
    alpha = attempt(lambda: unpack_transparency(file), damage)
    blocks = attempt(lambda: unpack_metadata(file), damage) or {}
    if alpha is not None:
        alpha = alpha[crop.slices]
    metadata = (blocks.get("icc"), blocks.get("exif"), blocks.get("xmp"))
    return [Picture(pixels, alpha, *metadata, damage=tuple(damage or ())) for pixels in painted]


def decode_pixels(
    file: NicFile, data: bytes, options: DecodeOptions, crop: Box, damage: list[str] | None,
    library: Library | None = None,
) -> list[Pixels]:  # fmt: skip
    """The pixels of `crop`, for each tau.

    Args:
        damage: as in `decode_symbols`.
        library: where to find what the file refers to; None: where the options say.
    """
    if SectionType.FOREIGN in file.sections:
        painted = decode_foreign(file, data, options, crop)
    elif file.streams:
        painted = decode_own(file, data, options, crop, damage, library)
    elif SectionType.DRAWN in file.sections:
        painted = [blank(file.header, crop) for _ in options.taus]
    else:
        raise CorruptFileError("the file's picture is lost: no whole section holds any of it")
    drawn = attempt(lambda: unpack_blocks(file), damage)
    if drawn is not None:
        for pixels in painted:
            drawn.paint(pixels, crop)
    return painted


def decode_reference(engine: str, device: str, data: bytes, library: Library) -> Pixels:
    """What a reference is for a file that refers to it: a picture file's pixels, or what the base alone paints.

    Experts and fuser may get better while files that refer to this one stay.
    """
    if not data.startswith(MAGIC):
        from nicodec.image.files import read_picture

        return read_picture(data, allow_8bit=True).pixels
    file = read_file(data)
    whole = Box(0, 0, file.header.width, file.header.height)
    options = DecodeOptions(device=device, engine=engine)
    return decode_pixels(without_tokens(file), data, options, whole, None, library)[0]


def decode_alone(offered: Sequence[Offered], options: EncodeOptions, data: bytes) -> Pixels:
    """What the base alone paints of a file that refers to some of what was offered."""
    from nicodec.references.library import Library

    library = Library(partial(decode_reference, options.engine, options.device))
    for each in offered:
        library.keep(each.reference, each.aligned.pixels)
    return decode_reference(options.engine, options.device, data, library)


def without_tokens(file: NicFile) -> NicFile:
    """A file as the base alone sees it."""
    kept = dict(file.sections)
    kept.pop(SectionType.VQ, None)
    return replace(file, sections=kept)


def decode_own(
    file: NicFile, data: bytes, options: DecodeOptions, crop: Box, damage: list[str] | None,
    library: Library | None = None,
) -> list[Pixels]:  # fmt: skip
    """The pixels of `crop`, for each tau, of a file with our own streams. Arguments as in `decode_pixels`."""
    from nicodec.painters.synthesis import Fusion, needed, synthesise

    aligned = attempt(lambda: find_references(file, options, library), damage)
    if aligned is None:
        return [blank(file.header, crop) for _ in options.taus]
    anchor = Anchor[options.anchor.upper()]
    runs = options.engine, options.device
    experts, streams = find_experts(file, anchor, *runs, damage)
    if max(options.taus) > 0:
        experts = replace(experts, fuser=find_fuser(file, *runs))
    symbols = decode_symbols(file, streams, needed(crop, file.header, experts), damage)
    fusion = Fusion(options.taus, options.steps, zlib.crc32(data) if options.seed is None else options.seed)
    depth = streams.depth if streams else 0
    return synthesise(symbols, file.header, experts, anchor, depth, crop, fusion, aligned)


def find_references(file: NicFile, options: DecodeOptions, library: Library | None) -> tuple[Aligned, ...]:
    """The pictures that a file refers to, decoded; none where it refers to none. Arguments as in `decode_pixels`.

    Raises:
        MissingReferenceError: one is not there; nothing has been decoded then.
        LimitError: they are too many, or too large.
        CorruptFileError: one is damaged, or the file does not say well where it lies.
    """
    wanted = read_aligned(file)
    if not wanted:
        return ()
    from nicodec.references.expect import lay
    from nicodec.references.library import Library

    if library is None:
        beside = () if options.beside is None else (options.beside,)
        decode = partial(decode_reference, options.engine, options.device)
        library = Library(decode, options.references, beside, options.dictionaries, options.max_pixels)
        library.check(file)
    return tuple(lay(library.pixels(each), each.alignment, file.header) for each in wanted)


def find_experts(
    file: NicFile, anchor: Anchor, engine: str, device: str, damage: list[str] | None = None
) -> tuple[Experts, TokenStreams | None]:
    """The networks that paint a file's picture, and its tokens if these take part.

    Tokens take no part where the fidelity anchor is asked for and the means to use them are not installed. A file of
    version 2 never has any: the base paints for both anchors, and tau leads it.
    `damage` is as in `decode_symbols`.

    Raises:
        MissingStreamError: asked for perception, and the file has no tokens.
        MissingPartError, DamagedPartError: see `decode_bytes`.
        UsageError: the device is not there.
    """
    from nicodec.dictionary.conditioning import restore
    from nicodec.engines import load_networks
    from nicodec.latents.codebook import load_token_path
    from nicodec.latents.floats import load_float_path
    from nicodec.painters.experts import Experts

    base = load_float_path(find_part("base", file.header.base_id), engine, device)
    references = attempt(lambda: read_references(file), damage)
    streams = attempt(lambda: read_tokens(file, damage), damage)
    if streams is None and not damage and anchor is Anchor.PERCEPTION and file.header.version == 1:
        raise MissingStreamError(
            "the file has no tokens, so there is nothing to anchor perception on; decode with --anchor fidelity, or "
            "encode the picture again with --streams sq+vq"
        )
    found = streams and find_trained("mode", {file.header.base_id, streams.vq_id})
    mode = load_networks(found, engine, device) if found else None
    if references is not None:
        base, mode = attempt(lambda: restore(references, base, mode, engine, device), damage) or (base, mode)
    alone = mode is None and anchor is Anchor.FIDELITY and SectionType.SQ in file.sections and not damage
    if streams is None or alone:
        return Experts(base), None
    return Experts(base, load_token_path(find_part("vq", streams.vq_id), engine, device), mode), streams


def find_fuser(file: NicFile, engine: str, device: str) -> Fuser:
    """The fuser trained on the base that a file names.

    Raises:
        MissingStreamError: the file has no latents for it to work on.
        MissingPartError, DamagedPartError: it is not installed, or not whole.
        UsageError: the device is not there.
    """
    from nicodec.painters.fuser import load_fuser

    if SectionType.SQ not in file.sections:
        raise MissingStreamError("the file has no latents, so tau has nothing to work on; decode with --tau 0")
    part = find_trained("fuser", {file.header.base_id})
    if part is None:
        raise missing(f"no fuser trained on base {file.header.base_id.hex()} is installed; decode with --tau 0")
    return load_fuser(part, engine, device)


def unpack_blocks(file: NicFile) -> Drawn | None:
    """The drawn blocks of a file, if it has any.

    Raises:
        CorruptFileError, InexactError: see `unpack_drawn`; or there are others, and no stream that would paint them.
    """
    payload = file.payload(SectionType.DRAWN)
    if payload is None:
        return None
    drawn = unpack_drawn(payload, file.header)
    if file.header.base_id == NO_BASE and not drawn.mask.all():
        raise CorruptFileError("the file has nothing but drawn blocks, and not all blocks are drawn")
    return drawn


def unpack_transparency(file: NicFile) -> NDArray[np.uint8] | None:
    """Alpha (H, W) of a file, if it has any."""
    payload = file.payload(SectionType.ALPHA)
    return None if payload is None else unpack_alpha(payload, file.header.height, file.header.width)


def unpack_metadata(file: NicFile) -> dict[str, bytes]:
    """ICC, EXIF and XMP blocks of a file, by `Picture`'s names."""
    return {
        name: read_packed(payload, f"the {name.upper()} section")
        for name, kind in METADATA.items()
        if (payload := file.payload(kind)) is not None
    }


@dataclass(frozen=True)
class Verdict:
    """What `verify` found out about a whole file: how many symbols are exact, and what could not be checked, if any."""

    symbols: int
    seconds: float
    unchecked: str | None = None


@says_when_memory_ends
def verify_bytes(data: bytes, max_pixels: int | None = None, base_weights: Path | None = None) -> Verdict:
    """Check all that can be checked without making a picture: CRCs, lengths, entropy streams, symbols, alpha, metadata.

    Another codec's strings are decoded where its weights are installed or named. Options as in `DecodeOptions`.

    Raises: as `decode_bytes`.
    """
    started = time.perf_counter()
    file = read_file(data)
    check_declared(file, max_pixels)
    read_references(file)
    unchecked = None
    if SectionType.FOREIGN in file.sections:
        count, unchecked = verify_foreign(file, base_weights)
    else:
        count = sum(held.size for held in decode_symbols(file, read_tokens(file)).values())
    unpack_blocks(file)
    unpack_transparency(file)
    unpack_metadata(file)
    return Verdict(count, time.perf_counter() - started, unchecked)
