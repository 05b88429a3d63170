"""The story: a picture to the bytes of a .nic file, and back.

::

    Picture ─ tiles ─► g_a, h_a ─► z_hat, symbols ─► range coder ─► SQ section ─┐
       │ ▲              └─► tokenizer ─► tokens ─► range coder ─► VQ section ───┤
       │ └── references: what the decoder has too ──────► REFERENCES section ───┤
       ├──────── blocks that are cheaper to keep exactly ──► DRAWN section ─────┤
       └─────────────────────────────────────► alpha, ICC, EXIF, XMP sections ──┴─► .nic
    Picture ◄─ tiles ◄─ painter ◄─┬─ [fuser, tau] ◄─ y_hat ◄─ z_hat, symbols ◄─ range decoder ◄─ SQ section ◄─ .nic
                                  └─ code vectors ◄─ tokens ◄─ range decoder ◄─ VQ section ◄─────────────────────┘

Four verbs: a base (`nicodec.bases`) analyses and codes, parses and synthesises. Ours does so with a model's networks,
others (`nicodec.foreign`) have a FOREIGN section with strings of their own in place of SQ and VQ; a JPEG's is the file.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.bases import Checked, find_decoder
from nicodec.container.layout import JPEG, MAGIC, Anchor, Box, Header, SectionType
from nicodec.container.limits import check_declared, check_size
from nicodec.container.reader import NicFile, read_file
from nicodec.container.references import read_aligned
from nicodec.container.writer import write_file
from nicodec.encoder import PictureEncoder
from nicodec.errors import CorruptFileError, UsageError
from nicodec.foreign.base import ForeignEncoder, find_foreign
from nicodec.foreign.jpeg import decode_jpeg, keep_jpeg
from nicodec.image.drawn import blank
from nicodec.image.kept import kept_sections, unpack_blocks, unpack_metadata, unpack_transparency
from nicodec.image.metadata import with_size
from nicodec.image.picture import Picture, Pixels
from nicodec.memory import check_memory, translate_out_of_memory
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.painters import Rendering
from nicodec.references.recent import Recent
from nicodec.streams import attempt

if TYPE_CHECKING:
    from nicodec.references.library import Library

RECENT = Recent(64 << 20)


@translate_out_of_memory
def encode_picture(picture: Picture, options: EncodeOptions) -> bytes:
    """Encode a picture to the bytes of a .nic file.

    Raises:
        LimitError: more pixels, or longer sides, than a file may declare.
        UnsupportedPictureError: base `jpeg`, and no JPEG.
        MissingPartError, DamagedPartError: the model is not installed, or not whole, or has no VQ part.
        UsageError: more bits a token than the codebook has.
        InexactError: the symbols do not come back from the stream (with `options.verify`).
    """
    check_size(picture.width, picture.height)
    if options.base == JPEG:
        kept = keep_jpeg(picture)
        return write_file(kept.header, kept.sections)
    other = find_foreign(options)
    if other is None:
        data = PictureEncoder(picture, options, several=options.refers).encode(options.quality)
        return recommending(picture, data, options)
    base = ForeignEncoder(other, options)
    streams = base.code(base.analyse(picture), rate=0)
    return write_file(streams.header, [*streams.sections, *kept_sections(picture)])


def recommending(picture: Picture, data: bytes, options: EncodeOptions) -> bytes:
    """The file, with a tau that it recommends, if that is wanted. Raises: see `recommend`."""
    if not options.recommend:
        return data
    from nicodec.recommend import recommend

    return recommend(picture, data, options)


def encode_at(picture: Picture, options: EncodeOptions) -> Callable[[float], bytes]:
    """Analyse a picture once, to encode it at several qualities: what gives its file at one.

    Raises:
        UsageError: another codec's base, or a JPEG, which knows no quality.
        As `encode_picture`.
    """
    check_size(picture.width, picture.height)
    if options.base == JPEG or find_foreign(options) is not None:
        raise UsageError("a JPEG, or another codec's weights, have one quality; encode without a target")
    return PictureEncoder(picture, options, several=True).encode


def decode_bytes(data: bytes, options: DecodeOptions) -> Picture:
    """Decode the bytes of a .nic file at the first tau. Raises: as `decode_taus`."""
    return decode_taus(data, options)[0]


@translate_out_of_memory
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
    check_declared(file, options.max_pixels)
    options = settled(options, file)
    crop = crop_of(file.header, options.crop)
    if options.scale > 1:
        from nicodec.scaled import decode_scaled

        return decode_scaled(file, data, options, crop)
    library = library_of(file, options)
    check_memory(file, options, crop, 0 if library is None else library.declared)
    if file.holds_jpeg:
        return decode_jpeg(file, crop, options, rendering_of(options, zlib.crc32(data)), damage)
    painted = paint(file, crop, options, zlib.crc32(data), damage, library)
    alpha = attempt(lambda: unpack_transparency(file), damage)
    blocks = attempt(lambda: unpack_metadata(file), damage) or {}
    if alpha is not None:
        alpha = alpha[crop.slices]
    metadata = (blocks.get("icc"), blocks.get("exif"), blocks.get("xmp"))
    pictures = [Picture(pixels, alpha, *metadata, damage=tuple(damage or ())) for pixels in painted]
    return pictures if options.crop is None else [with_size(picture) for picture in pictures]


def settled(options: DecodeOptions, file: NicFile) -> DecodeOptions:
    """With the tau that the file recommends, where that is asked for."""
    return options.settled(file.header.hint, led=file.header.version > 1 and SectionType.SQ in file.sections)


def rendering_of(options: DecodeOptions, own_seed: int) -> Rendering:
    """Which picture is asked for. `own_seed`: of the file; the options may name another."""
    seed = own_seed if options.seed is None else options.seed
    return Rendering(Anchor[options.anchor.upper()], options.taus, options.steps, seed)


def library_of(file: NicFile, options: DecodeOptions) -> Library | None:
    """Where the pictures are that a file refers to; None where it refers to none.

    Raises:
        MissingReferenceError, LimitError, CorruptFileError: see `Library.check`; nothing has been decoded yet.
    """
    if not file.header.referring:
        return None
    from nicodec.references.library import Library

    beside = () if options.beside is None else (options.beside,)
    decode = partial(decode_reference, options.engine, options.device)
    library = Library(decode, options.references, beside, options.dictionaries, options.max_pixels)
    attempt(lambda: library.check(file), [] if options.best_effort else None)
    return library


def decode_reference(engine: str, device: str, data: bytes, library: Library) -> Pixels:
    """What a picture is for a file that refers to it: a picture file's pixels, or what the base alone paints.

    Experts and fuser may get better while files that refer to this one stay.
    """
    key = hashlib.sha256(data).digest(), engine, device
    return RECENT.get(key, partial(_decode_reference, engine, device, data, library))


def _decode_reference(engine: str, device: str, data: bytes, library: Library) -> Pixels:
    if not data.startswith(MAGIC):
        from nicodec.image.files import read_picture

        return read_picture(data, allow_8bit=True).pixels
    file = read_file(data)
    options = DecodeOptions(device=device, engine=engine)
    return paint(file.without_tokens, crop_of(file.header, None), options, 0, None, library)[0]


def paint(
    file: NicFile, crop: Box, options: DecodeOptions, own_seed: int, damage: list[str] | None, library: Library | None
) -> list[Pixels]:
    """The pixels of `crop` for each tau. `damage` is as in `decode_symbols`.

    Args:
        own_seed: of the file; the options may name another.
        library: where the pictures are that the file refers to.
    """
    drawn = attempt(lambda: unpack_blocks(file), damage)
    if drawn is None:
        return paint_streams(file, crop, options, own_seed, damage, library)
    painted = attempt(lambda: paint_streams(file, crop, options, own_seed, damage, library), damage)
    painted = painted or [blank(file.header, crop) for _ in options.taus]
    for pixels in painted:
        drawn.paint(pixels, crop)
    return painted


def paint_streams(
    file: NicFile, crop: Box, options: DecodeOptions, own_seed: int, damage: list[str] | None, library: Library | None
) -> list[Pixels]:
    """As `paint`, without drawn blocks."""
    if file.streams:
        base = find_decoder(file, options, rendering_of(options, own_seed), damage, library)
        return base.synthesise(base.parse(crop), crop)
    if SectionType.DRAWN in file.sections:
        return [blank(file.header, crop) for _ in options.taus]
    raise CorruptFileError("the file's picture is lost: no whole section holds any of it")


def crop_of(header: Header, asked: tuple[int, int, int, int] | None) -> Box:
    """The part of a picture that is asked for; None: all of it.

    Raises:
        UsageError: it is not inside.
    """
    whole = Box(0, 0, header.width, header.height)
    crop = whole if asked is None else Box(*asked)
    if crop.common(whole) != crop:
        raise UsageError(
            f"the crop {crop.width}x{crop.height} at ({crop.left}, {crop.top}) is not inside the picture, which is "
            f"{header.width}x{header.height}"
        )
    return crop


@dataclass(frozen=True)
class Verdict(Checked):
    """What `verify` found out about a whole file.

    Attributes:
        refers_to: how many other pictures it takes to decode it, which are not looked for.
        seconds: that it took.
    """

    refers_to: int = 0
    seconds: float = 0.0


@translate_out_of_memory
def verify_bytes(data: bytes, max_pixels: int | None = None, base_weights: Path | None = None) -> Verdict:
    """Check all that can be checked without making a picture: CRCs, lengths, entropy streams, symbols, alpha, metadata.

    Another codec's strings are decoded where its weights are installed or named. Options as in `DecodeOptions`.

    Raises: as `decode_bytes`.
    """
    started = time.perf_counter()
    file = read_file(data)
    check_declared(file, max_pixels)
    checked = find_decoder(file, DecodeOptions(base_weights=base_weights)).verify()
    unpack_blocks(file)
    unpack_transparency(file)
    unpack_metadata(file)
    seconds = time.perf_counter() - started
    return Verdict(checked.symbols, checked.unchecked, checked.jpeg_bytes, len(read_aligned(file)), seconds)
