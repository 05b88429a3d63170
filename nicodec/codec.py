"""The story: a picture to the bytes of a .nic file, and back.

::

    Picture ─ tiles ─► g_a, h_a ─► z_hat, symbols ─► range coder ─► SQ section ─┐
       └─────────────────────────────────────► alpha, ICC, EXIF, XMP sections ──┴─► .nic
    Picture ◄─ tiles ◄─ g_s ◄─ y_hat ◄─ z_hat, symbols ◄─ range decoder ◄─ SQ section ◄─ .nic
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass

from nicodec.container.layout import Box, Colour, Header, Section, SectionType, tiles
from nicodec.container.limits import check_size
from nicodec.container.reader import NicFile, read_file, read_packed, read_tiles
from nicodec.container.writer import write_file, write_packed, write_tiles
from nicodec.entropy.coder import Latent, decode_latent, encode_latent
from nicodec.entropy.scales import ScaleModel
from nicodec.errors import InexactError, UnsupportedVersionError, UsageError
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.image.picture import Picture
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.zoo.load import load_scales
from nicodec.zoo.store import find_package, find_part

METADATA = {"icc": SectionType.ICC, "exif": SectionType.EXIF, "xmp": SectionType.XMP}


def encode_picture(picture: Picture, options: EncodeOptions) -> bytes:
    """Encode a picture to the bytes of a .nic file.

    Raises:
        LimitError: more pixels, or longer sides, than a file may declare.
        MissingPartError, DamagedPartError: the model is not installed, or not whole.
        InexactError: the symbols do not come back from the stream (with `options.verify`).
    """
    from nicodec.networks.tiling import analyse

    part = find_package(options.model).parts["base"]
    rate = rate_from_quality(options.quality)
    colour = Colour.GREY if picture.grey else Colour.RGB
    check_size(picture.width, picture.height)
    header = Header(picture.width, picture.height, colour, 8, rate, part.id)
    scales = load_scales(part)
    streams = [
        code_tile(scales, latent, rate, options.verify)
        for latent in analyse(picture, part, scales, rate, options.effort, options.device)
    ]
    sections = [Section(SectionType.SQ, write_tiles(streams))]
    if picture.alpha is not None:
        sections.append(Section(SectionType.ALPHA, pack_alpha(picture.alpha)))
    blocks = {kind: getattr(picture, name) for name, kind in METADATA.items()}
    sections += [Section(kind, write_packed(block)) for kind, block in blocks.items() if block]
    return write_file(header, sections)


def code_tile(scales: ScaleModel, latent: Latent, rate: int, verify: bool) -> tuple[int, bytes]:
    """The symbols' CRC and the coded bytes of one tile.

    Raises:
        InexactError: the symbols do not come back from the stream (with `verify`).
    """
    stream = encode_latent(scales, latent, rate)
    height, width, _ = latent.z_hat.shape
    if verify and decode_latent(scales, stream, height, width, rate).crc() != latent.crc():
        raise InexactError("the encoded symbols do not decode to themselves on this machine; please report it")
    return latent.crc(), stream


def decode_bytes(data: bytes, options: DecodeOptions) -> Picture:
    """Decode the bytes of a .nic file.

    Raises:
        NotNicodecError, UnsupportedVersionError, CorruptFileError, LimitError: see `container.reader.read_file`.
        MissingPartError, DamagedPartError: the base that the file names is not installed, or not whole.
        InexactError: the symbols' CRC does not hold.
        UsageError: the crop is not inside the picture.
    """
    from nicodec.networks.tiling import needed, synthesise

    file = read_file(data)
    header = file.header
    whole = Box(0, 0, header.width, header.height)
    crop = Box(*options.crop) if options.crop else whole
    if crop.common(whole) != crop:
        raise UsageError(
            f"the crop {crop.width}x{crop.height} at ({crop.left}, {crop.top}) is not inside the picture, which is "
            f"{header.width}x{header.height}"
        )
    latents = decode_symbols(file, needed(crop, header))
    alpha = file.payload(SectionType.ALPHA)
    transparency = None if alpha is None else unpack_alpha(alpha, header.height, header.width)[crop.slices]
    blocks = unpack_metadata(file)
    pixels = synthesise(latents, header, find_part("base", header.base_id), options.device, crop)
    return Picture(pixels, transparency, blocks.get("icc"), blocks.get("exif"), blocks.get("xmp"))


def decode_symbols(file: NicFile, wanted: Container[Box] | None = None) -> dict[Box, Latent]:
    """Decode and check the symbols of some tiles of a file (None: of all): integer arithmetic only, no torch.

    Raises:
        InexactError: a stream parses, but to other symbols than the encoder's.
        MissingPartError, DamagedPartError, CorruptFileError: see `decode_bytes`.
        UnsupportedVersionError: the file has no SQ section.
    """
    header = file.header
    payload = file.payload(SectionType.SQ)
    if payload is None:
        raise UnsupportedVersionError("the file has no SQ section; this version decodes no other picture")
    scales = load_scales(find_part("base", header.base_id))
    latents = {}
    geometry = tiles(header.width, header.height)
    for tile, (crc, stream) in zip(geometry, read_tiles(payload, header, "the SQ section"), strict=True):
        if wanted is not None and tile not in wanted:
            continue
        latent = decode_latent(scales, stream, *tile.grid, header.rate)
        if latent.crc() != crc:
            raise InexactError(
                f"the symbols have CRC {latent.crc():06x}, the file says {crc:06x}; file and model are whole, so this "
                "machine's (or the encoder's) arithmetic is at fault"
            )
        latents[tile] = latent
    return latents


def unpack_metadata(file: NicFile) -> dict[str, bytes]:
    """ICC, EXIF and XMP blocks of a file, by `Picture`'s names."""
    return {
        name: read_packed(payload, f"the {name.upper()} section")
        for name, kind in METADATA.items()
        if (payload := file.payload(kind)) is not None
    }


@dataclass(frozen=True)
class Verdict:
    """What `verify` found out about a whole file."""

    symbols: int
    seconds: float


def verify_bytes(data: bytes) -> Verdict:
    """Check all that can be checked without making a picture: CRCs, lengths, entropy streams, symbols, alpha, metadata.

    Raises: as `decode_bytes`.
    """
    started = time.perf_counter()
    file = read_file(data)
    latents = decode_symbols(file)
    if (alpha := file.payload(SectionType.ALPHA)) is not None:
        unpack_alpha(alpha, file.header.height, file.header.width)
    unpack_metadata(file)
    symbols = sum(latent.z_hat.size + latent.symbols.size for latent in latents.values())
    return Verdict(symbols, time.perf_counter() - started)
