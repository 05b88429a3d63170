"""The story: a picture to the bytes of a .nic file, and back.

::

    Picture ─ pad ─► g_a, h_a ─► z_hat, symbols ─► range coder ─► SQ section ─┐
       └───────────────────────────────────► alpha, ICC, EXIF, XMP sections ──┴─► .nic
    Picture ◄─ crop ◄─ g_s ◄─ y_hat ◄─ z_hat, symbols ◄─ range decoder ◄─ SQ section ◄─ .nic
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from nicodec.container.layout import STRIDE, TILE, Colour, Header, Section, SectionType, tiles
from nicodec.container.reader import NicFile, read_file, read_packed, read_tiles
from nicodec.container.writer import write_file, write_packed, write_tiles
from nicodec.entropy.coder import Latent, decode_latent, encode_latent
from nicodec.errors import InexactError, UnsupportedPictureError, UnsupportedVersionError
from nicodec.image.alpha import pack_alpha, unpack_alpha
from nicodec.image.picture import Picture, Pixels, pad
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.rate.scale import rate_from_quality
from nicodec.zoo.load import load_base, load_scales
from nicodec.zoo.manifest import Part
from nicodec.zoo.store import find_package, find_part

METADATA = {"icc": SectionType.ICC, "exif": SectionType.EXIF, "xmp": SectionType.XMP}


def encode_picture(picture: Picture, options: EncodeOptions) -> bytes:
    """Encode a picture to the bytes of a .nic file.

    Raises:
        UnsupportedPictureError: larger than one tile.
        MissingPartError, DamagedPartError: the model is not installed, or not whole.
        InexactError: the symbols do not come back from the stream (with `options.verify`).
    """
    if max(picture.width, picture.height) > TILE:
        raise UnsupportedPictureError(
            f"the picture has {picture.width}x{picture.height} pixels; this version codes up to {TILE}x{TILE}: "
            "scale it down first"
        )
    part = find_package(options.model).parts["base"]
    rate = rate_from_quality(options.quality)
    latent = analyse(picture, part, rate, options.device)
    scales = load_scales(part)
    stream = encode_latent(scales, latent, rate)
    height, width, _ = latent.z_hat.shape
    if options.verify and decode_latent(scales, stream, height, width, rate).crc() != latent.crc():
        raise InexactError("the encoded symbols do not decode to themselves on this machine; please report it")
    sections = [Section(SectionType.SQ, write_tiles([(latent.crc(), stream)]))]
    if picture.alpha is not None:
        sections.append(Section(SectionType.ALPHA, pack_alpha(picture.alpha)))
    blocks = {kind: getattr(picture, name) for name, kind in METADATA.items()}
    sections += [Section(kind, write_packed(block)) for kind, block in blocks.items() if block]
    colour = Colour.GREY if picture.grey else Colour.RGB
    return write_file(Header(picture.width, picture.height, colour, 8, rate, part.id), sections)


def decode_bytes(data: bytes, options: DecodeOptions) -> Picture:
    """Decode the bytes of a .nic file.

    Raises:
        NotNicodecError, UnsupportedVersionError, CorruptFileError, LimitError: see `container.reader.read_file`.
        MissingPartError, DamagedPartError: the base that the file names is not installed, or not whole.
        InexactError: the symbols' CRC does not hold.
    """
    file = read_file(data)
    header = file.header
    latent = decode_symbols(file)
    alpha = file.payload(SectionType.ALPHA)
    blocks = {
        name: read_packed(payload, f"the {name.upper()} section")
        for name, kind in METADATA.items()
        if (payload := file.payload(kind)) is not None
    }
    transparency = None if alpha is None else unpack_alpha(alpha, header.height, header.width)
    pixels = synthesise(latent, header, find_part("base", header.base_id), options.device)
    return Picture(pixels, transparency, blocks.get("icc"), blocks.get("exif"), blocks.get("xmp"))


def decode_symbols(file: NicFile) -> Latent:
    """Decode and check the symbols of a file: integer arithmetic only, no torch.

    Raises:
        InexactError: the stream parses, but to other symbols than the encoder's.
        MissingPartError, DamagedPartError, CorruptFileError: see `decode_bytes`.
        UnsupportedVersionError: the file has no SQ section, or more than one tile.
    """
    header = file.header
    payload = file.payload(SectionType.SQ)
    if payload is None:
        raise UnsupportedVersionError("the file has no SQ section; this version decodes no other picture")
    geometry = tiles(header.width, header.height)
    if len(geometry) > 1:
        raise UnsupportedVersionError(f"the file has {len(geometry)} tiles; this version decodes files of one tile")
    part = find_part("base", header.base_id)
    ((crc, stream),) = read_tiles(payload, header, "the SQ section")
    latent = decode_latent(load_scales(part), stream, *geometry[0].grid, header.rate)
    if latent.crc() != crc:
        raise InexactError(
            f"the symbols have CRC {latent.crc():06x}, the file says {crc:06x}; file and model are whole, so this "
            "machine's (or the encoder's) arithmetic is at fault"
        )
    return latent


def analyse(picture: Picture, part: Part, rate: int, device: str) -> Latent:
    """The float half of encoding: pixels to symbols."""
    import torch

    place = resolve_device(device)
    pixels = pad(picture.pixels, STRIDE)
    x = torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).to(place)
    x = x.permute(2, 0, 1)[None].float() / 255
    z_hat, symbols = load_base(part, place).analyse(x, rate)
    return Latent(*(t[0].permute(1, 2, 0).cpu().numpy().astype(np.int16) for t in (z_hat, symbols)))


def synthesise(latent: Latent, header: Header, part: Part, device: str) -> Pixels:
    """The float half of decoding: symbols to pixels (H, W, 3) or (H, W, 1), uint8."""
    import torch

    place = resolve_device(device)
    arrays = (latent.z_hat, latent.symbols)
    z_hat, symbols = (torch.from_numpy(a.astype(np.float32)).permute(2, 0, 1)[None].to(place) for a in arrays)
    x_hat = load_base(part, place).synthesise(z_hat, symbols, header.rate)[0, :, : header.height, : header.width]
    if header.colour is Colour.GREY:
        x_hat = x_hat.mean(0, keepdim=True)
    pixels = (x_hat.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.cpu().numpy())


def resolve_device(device: str) -> str:
    """`auto` to `cuda` where there is one, else `cpu`.

    Raises:
        UsageError: `cuda` was asked for and is not there.
    """
    import torch

    from nicodec.errors import UsageError

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but torch finds none here; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@dataclass(frozen=True)
class Verdict:
    """What `verify` found out about a whole file."""

    symbols: int
    seconds: float


def verify_bytes(data: bytes) -> Verdict:
    """Check all that can be checked without making a picture: CRCs, lengths, entropy stream, symbols, alpha, metadata.

    Raises: as `decode_bytes`.
    """
    started = time.perf_counter()
    file = read_file(data)
    latent = decode_symbols(file)
    if (alpha := file.payload(SectionType.ALPHA)) is not None:
        unpack_alpha(alpha, file.header.height, file.header.width)
    for name, kind in METADATA.items():
        if (payload := file.payload(kind)) is not None:
            read_packed(payload, f"the {name.upper()} section")
    return Verdict(latent.z_hat.size + latent.symbols.size, time.perf_counter() - started)
