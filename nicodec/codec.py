"""The story: a picture to the bytes of a .nic file, and back.

::

    Picture ─ tiles ─► g_a, h_a ─► z_hat, symbols ─► range coder ─► SQ section ─┐
       │                └─► tokenizer ─► tokens ─► range coder ─► VQ section ───┤
       └─────────────────────────────────────► alpha, ICC, EXIF, XMP sections ──┴─► .nic
    Picture ◄─ tiles ◄─ experts ◄─┬─ [fuser, tau] ◄─ y_hat ◄─ z_hat, symbols ◄─ range decoder ◄─ SQ section ◄─ .nic
                                  └─ code vectors ◄─ tokens ◄─ range decoder ◄─ VQ section ◄─────────────────────┘
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import NO_BASE, Anchor, Box, Colour, Header, Section, SectionType, TokenStreams
from nicodec.container.limits import check_declared, check_size
from nicodec.container.reader import NicFile, read_file, read_packed, read_references, read_tokens
from nicodec.container.writer import write_file, write_packed
from nicodec.errors import MissingStreamError, UnsupportedVersionError, UsageError
from nicodec.foreign import decode_foreign, encode_foreign, find_foreign, verify_foreign
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.image.picture import Picture, Pixels
from nicodec.memory import check_memory, says_when_memory_ends
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.streams import StreamEncoder, attempt, decode_symbols
from nicodec.zoo.store import find_part, find_trained, missing

if TYPE_CHECKING:
    from nicodec.networks.experts import Experts
    from nicodec.networks.fuser import Denoiser
    from nicodec.networks.tiling import Analysed

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
    if (foreign := find_foreign(options)) is not None:
        header = _header(picture, 0, NO_BASE, version=2)
        return write_file(header, [encode_foreign(picture, foreign, options.device, options.verify), *_kept(picture)])
    encoder = StreamEncoder(options)
    return _encode(picture, encoder, partial(encoder.analyse, picture), _kept(picture), options.quality)


def encode_at(picture: Picture, options: EncodeOptions) -> Callable[[float], bytes]:
    """Analyse a picture once, to encode it at several qualities: what gives its file at one.

    Raises:
        UsageError: another codec's base, which knows no quality.
        As `encode_picture`.
    """
    check_size(picture.width, picture.height)
    if find_foreign(options) is not None:
        raise UsageError("another codec's weights have one quality; encode without a target")
    encoder = StreamEncoder(options)
    analysed = list(encoder.analyse(picture))
    return partial(_encode, picture, encoder, lambda: analysed, _kept(picture))


def _encode(
    picture: Picture, encoder: StreamEncoder, analyse: Callable[[], Iterable[Analysed]], kept: list[Section],
    quality: float,
) -> bytes:  # fmt: skip
    from nicodec.trials import decide

    header = _header(picture, rate_from_quality(quality), encoder.parts["base"].id, encoder.version)
    return write_file(header, [*decide(picture, header, encoder, analyse), *kept])


def _header(picture: Picture, rate: int, base_id: bytes, version: int) -> Header:
    colour = Colour.GREY if picture.grey else Colour.RGB
    return Header(picture.width, picture.height, colour, 8, rate, base_id, version=version)


def _kept(picture: Picture) -> list[Section]:
    """What is kept without loss: alpha and metadata."""
    alpha = [] if picture.alpha is None else [Section(SectionType.ALPHA, pack_alpha(picture.alpha))]
    blocks = {kind: getattr(picture, name) for name, kind in METADATA.items()}
    return alpha + [Section(kind, write_packed(block)) for kind, block in blocks.items() if block]


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
    check_declared(header, file.size, options.max_pixels)
    whole = Box(0, 0, header.width, header.height)
    crop = Box(*options.crop) if options.crop else whole
    if crop.common(whole) != crop:
        raise UsageError(
            f"the crop {crop.width}x{crop.height} at ({crop.left}, {crop.top}) is not inside the picture, which is "
            f"{header.width}x{header.height}"
        )
    check_memory(file, options, crop)
    if SectionType.FOREIGN in file.sections:
        painted = decode_foreign(file, data, options, crop)
    else:
        painted = decode_own(file, data, options, crop, damage)
    alpha = attempt(lambda: unpack_transparency(file), damage)
    blocks = attempt(lambda: unpack_metadata(file), damage) or {}
    if alpha is not None:
        alpha = alpha[crop.slices]
    metadata = (blocks.get("icc"), blocks.get("exif"), blocks.get("xmp"))
    return [Picture(pixels, alpha, *metadata, damage=tuple(damage or ())) for pixels in painted]


def decode_own(file: NicFile, data: bytes, options: DecodeOptions, crop: Box, damage: list[str] | None) -> list[Pixels]:
    """The pixels of `crop`, for each tau, of a file with our own streams. `damage` is as in `decode_symbols`."""
    from nicodec.networks.tiling import Fusion, needed, synthesise

    anchor = Anchor[options.anchor.upper()]
    experts, streams = find_experts(file, anchor, options.device, damage)
    if max(options.taus) > 0:
        experts = replace(experts, fuser=find_fuser(file, options.device))
    symbols = decode_symbols(file, streams, needed(crop, file.header, experts), damage)
    check_painted(file.header)
    fusion = Fusion(options.taus, options.steps, zlib.crc32(data) if options.seed is None else options.seed)
    return synthesise(symbols, file.header, experts, anchor, streams.depth if streams else 0, crop, fusion)


def check_painted(header: Header) -> None:
    """Refuse files whose symbols decode, but whose gains the networks do not know.

    Raises:
        UnsupportedVersionError: the file has a second tune or a quality map.
    """
    if header.tune or header.mapped:
        raise UnsupportedVersionError(
            "the file has another tune or a quality map, which the networks of this nicodec do not know yet; use a "
            "newer nicodec"
        )


def find_experts(
    file: NicFile, anchor: Anchor, device: str, damage: list[str] | None = None
) -> tuple[Experts, TokenStreams | None]:
    """The networks that paint a file's picture, and its tokens if these take part.

    Tokens take no part where the fidelity anchor is asked for and the means to use them are not installed.
    `damage` is as in `decode_symbols`.

    Raises:
        MissingStreamError: asked for perception, and the file has no tokens.
        MissingPartError, DamagedPartError: see `decode_bytes`.
        UsageError: the device is not there.
    """
    from nicodec.networks.experts import Experts
    from nicodec.networks.tiling import resolve_device
    from nicodec.references import restore
    from nicodec.zoo.load import load_base, load_mode, load_vq

    place = resolve_device(device)
    base = load_base(find_part("base", file.header.base_id), place)
    references = attempt(lambda: read_references(file), damage)
    streams = attempt(lambda: read_tokens(file, damage), damage)
    if streams is None and not damage and anchor is Anchor.PERCEPTION:
        raise MissingStreamError(
            "the file has no tokens, so there is nothing to anchor perception on; decode with --anchor fidelity, or "
            "encode the picture again with --streams sq+vq"
        )
    found = streams and find_trained("mode", {file.header.base_id, streams.vq_id})
    mode = load_mode(found, place) if found else None
    if references is not None:
        base, mode = attempt(lambda: restore(references, base, mode), damage) or (base, mode)
    alone = mode is None and anchor is Anchor.FIDELITY and SectionType.SQ in file.sections and not damage
    if streams is None or alone:
        return Experts(base), None
    return Experts(base, load_vq(find_part("vq", streams.vq_id), place), mode), streams


def find_fuser(file: NicFile, device: str) -> Denoiser:
    """The fuser trained on the base that a file names.

    Raises:
        MissingStreamError: the file has no latents for it to work on.
        MissingPartError, DamagedPartError: it is not installed, or not whole.
        UsageError: the device is not there.
    """
    from nicodec.networks.tiling import resolve_device
    from nicodec.zoo.load import load_fuser

    if SectionType.SQ not in file.sections:
        raise MissingStreamError("the file has no latents, so tau has nothing to work on; decode with --tau 0")
    part = find_trained("fuser", {file.header.base_id})
    if part is None:
        raise missing(f"no fuser trained on base {file.header.base_id.hex()} is installed; decode with --tau 0")
    return load_fuser(part, resolve_device(device))


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
    check_declared(file.header, file.size, max_pixels)
    read_references(file)
    unchecked = None
    if SectionType.FOREIGN in file.sections:
        count, unchecked = verify_foreign(file, base_weights)
    else:
        count = sum(held.size for held in decode_symbols(file, read_tokens(file)).values())
    unpack_transparency(file)
    unpack_metadata(file)
    return Verdict(count, time.perf_counter() - started, unchecked)
