"""Files whose latents are another codec's: its own strings in our container, and tau on top."""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nicodec.container.layout import Box, Colour, Foreign, Section, SectionType
from nicodec.container.reader import NicFile, read_foreign
from nicodec.container.writer import write_foreign
from nicodec.errors import DamagedPartError, LimitError, MissingPartError, UsageError
from nicodec.image.picture import Picture, Pixels
from nicodec.isolated import DECODER
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.streams import check_crc
from nicodec.zoo.load import is_foreign, load_foreign
from nicodec.zoo.manifest import Part, part_id
from nicodec.zoo.store import find_package, find_part, find_trained, missing

if TYPE_CHECKING:
    from torch import Tensor

    from nicodec.networks.adapters import ForeignBase

MAX_PIXELS = 1 << 24  # these codecs know no tiles: memory grows with the picture


def find_foreign(options: EncodeOptions) -> Part | None:
    """The other codec that the options name, by its weights or as a model; None where they name none.

    Raises:
        MissingPartError, DamagedPartError, UsageError: see `part_of` and `find_package`.
    """
    if options.base_weights is not None:
        return part_of(options.base_weights, options.base)
    base = find_package(options.model).parts["base"]
    return base if is_foreign(base) else None


def part_of(weights: Path, name: str | None = None) -> Part:
    """A safetensors file with a foreign base's weights (`nicodec models fetch`) as a part.

    Raises:
        DamagedPartError: it cannot be read, or is none.
        UsageError: it is not `name`.
    """
    try:
        part = Part("base", part_id(weights.read_bytes()), weights, weights.name)
    except OSError as error:
        raise DamagedPartError(f"the weights {weights} cannot be read: {error.strerror or error}") from None
    if not is_foreign(part):
        raise DamagedPartError(f"{weights} holds no foreign base; make one with `nicodec models fetch`")
    found = load_foreign(part, "cpu").name
    if name not in (None, found):
        raise UsageError(f"the base is {name}, but {weights} holds {found}")
    return part


def encode_foreign(picture: Picture, part: Part, device: str, verify: bool) -> Section:
    """The FOREIGN section of a picture.

    Raises:
        InexactError: the symbols do not come back from the strings (with `verify`).
        LimitError: more than MAX_PIXELS pixels.
        DamagedPartError: the part holds no foreign base.
    """
    import torch

    from nicodec.engines.torch import resolve_device
    from nicodec.latents.geometry import to_input

    _check_size(picture.width, picture.height)
    place = resolve_device(device)
    base = load_foreign(part, place)
    foreign = Foreign(base.name, part.id, *base.compress(torch.from_numpy(to_input(picture.pixels)).to(place)))
    if verify:
        _decode(foreign, part, place, picture.width * picture.height)
    return Section(SectionType.FOREIGN, write_foreign(foreign))


def decode_foreign(file: NicFile, data: bytes, options: DecodeOptions, crop: Box) -> list[Pixels]:
    """The pixels of `crop` of a file with a FOREIGN section, for each tau.

    Raises:
        CorruptFileError, InexactError: the strings do not decode, or not to the symbols of which they have the CRC.
        LimitError: more than MAX_PIXELS pixels.
        UsageError: asked for perception: there are no tokens.
        MissingPartError, DamagedPartError: weights, or a fuser trained on them, are not installed, or not whole.
    """
    header, foreign = file.header, read_foreign(file)
    assert foreign is not None
    _check_size(header.width, header.height)
    if options.anchor != "fidelity":
        raise UsageError(f"the file is {foreign.name}'s and has no tokens; decode with --anchor fidelity")
    DECODER.start()
    import torch

    from nicodec.engines.torch import resolve_device
    from nicodec.latents.geometry import to_pixels

    place = resolve_device(options.device)
    part = _find(foreign, options.base_weights)
    y_hat = torch.from_numpy(_decode(foreign, part, place, header.width * header.height)[0]).to(place)
    base = load_foreign(part, place)
    residual = y_hat.new_zeros(1)
    if max(options.taus) > 0:
        residual = _fuse(base, part, y_hat, options, zlib.crc32(data))
    channels = 1 if header.colour is Colour.GREY else 3
    paint = partial(_paint, base, crop)
    latents = (y_hat if tau == 0 else y_hat + tau * residual for tau in options.taus)
    return [to_pixels(paint(latent).cpu().numpy(), channels) for latent in latents]


def verify_foreign(file: NicFile, weights: Path | None) -> tuple[int, str | None]:
    """How many symbols of a file with a FOREIGN section are what the encoder's were; and what could not be checked.

    Raises:
        CorruptFileError, InexactError, LimitError: as `decode_foreign`.
        DamagedPartError, MissingPartError, UsageError: the weights that are named are not the file's.
    """
    header, foreign = file.header, read_foreign(file)
    assert foreign is not None
    _check_size(header.width, header.height)
    try:
        part = _find(foreign, weights)
    except MissingPartError as error:
        if weights is not None:
            raise
        return 0, str(error)
    _, count, _ = _decode(foreign, part, "cpu", header.width * header.height)
    if foreign.crc is None:
        return 0, "the strings decode, but the file has no CRC of their symbols"
    return count, None


def _decode(foreign: Foreign, part: Part, device: str, pixels: int) -> tuple[NDArray[np.float32], int, int]:
    """As `Decoder.decode`, and the symbols' CRC holds, if there is one."""
    decoded = DECODER.decode(foreign, part, device, pixels)
    if foreign.crc is not None:
        check_crc("symbols", decoded[2], foreign.crc)
    return decoded


def _paint(base: ForeignBase, crop: Box, y_hat: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        x_hat = base.g_s(y_hat, torch.zeros(1, device=y_hat.device))[0]
    return x_hat[:, *crop.slices]


def _fuse(base: ForeignBase, part: Part, y_hat: Tensor, options: DecodeOptions, own_seed: int) -> Tensor:
    import torch

    from nicodec.painters.fuser import load_fuser, normals

    trained = find_trained("fuser", {part.id})
    if trained is None:
        raise missing(f"no fuser trained on {base.name} {part.id.hex()} is installed; decode with --tau 0")
    fuser, latent = load_fuser(trained, options.engine, options.device), y_hat.cpu().numpy()
    rows, columns = (slice(0, side) for side in latent.shape[2:])
    seed = own_seed if options.seed is None else options.seed
    noise = normals(seed, rows, columns, latent.shape[1])[None]
    step, rates = np.ones((1, latent.shape[1], 1, 1), np.float32), np.zeros(1, np.float32)
    return torch.from_numpy(fuser.residual(latent, step, noise, rates, options.steps)).to(y_hat.device)


def _find(foreign: Foreign, weights: Path | None) -> Part:
    if weights is None:
        try:
            return find_part("base", foreign.weights_id)
        except (MissingPartError, DamagedPartError) as error:
            raise type(error)(f"{error}; it is {foreign.name}: name its weights with --base-weights") from None
    part = part_of(weights, foreign.name)
    if part.id != foreign.weights_id:
        raise MissingPartError(
            f"{weights} has id {part.id.hex()}, but the file was written with {foreign.weights_id.hex()}"
        )
    return part


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise LimitError(f"{width}x{height} pixels are more than the {MAX_PIXELS} that a foreign base may have")
