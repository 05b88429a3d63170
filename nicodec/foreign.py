"""Files whose latents are another codec's: its own strings in our container, and tau on top."""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nicodec.container.layout import Box, Colour, Foreign, Section, SectionType
from nicodec.container.reader import NicFile, read_foreign
from nicodec.container.writer import write_foreign
from nicodec.errors import DamagedPartError, LimitError, MissingPartError, UsageError
from nicodec.image.picture import Picture, Pixels
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.zoo.load import is_foreign, load_foreign, load_fuser
from nicodec.zoo.manifest import Part, part_id
from nicodec.zoo.store import find_package, find_part, find_trained

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


def encode_foreign(picture: Picture, part: Part, device: str) -> Section:
    """The FOREIGN section of a picture.

    Raises:
        LimitError: more than MAX_PIXELS pixels.
        DamagedPartError: the part holds no foreign base.
    """
    from nicodec.networks.tiling import resolve_device, to_input

    _check_size(picture.width, picture.height)
    place = resolve_device(device)
    base = load_foreign(part, place)
    strings, shape = base.compress(to_input(picture.pixels, place))
    return Section(SectionType.FOREIGN, write_foreign(Foreign(base.name, part.id, shape, strings)))


def decode_foreign(file: NicFile, data: bytes, options: DecodeOptions, crop: Box) -> list[Pixels]:
    """The pixels of `crop` of a file with a FOREIGN section, for each tau.

    Raises:
        CorruptFileError: the strings do not decode.
        LimitError: more than MAX_PIXELS pixels.
        UsageError: asked for perception: there are no tokens.
        MissingPartError, DamagedPartError: weights, or a fuser trained on them, are not installed, or not whole.
    """
    from nicodec.networks.tiling import resolve_device, to_pixels

    header, foreign = file.header, read_foreign(file)
    assert foreign is not None
    _check_size(header.width, header.height)
    if options.anchor != "fidelity":
        raise UsageError(f"the file is {foreign.name}'s and has no tokens; decode with --anchor fidelity")
    place = resolve_device(options.device)
    part = _find(foreign, options.base_weights)
    base = load_foreign(part, place)
    y_hat = base.latent(foreign)
    residual = y_hat.new_zeros(1)
    if max(options.taus) > 0:
        residual = _fuse(base, part, y_hat, options, zlib.crc32(data))
    channels = 1 if header.colour is Colour.GREY else 3
    paint = partial(_paint, base, crop)
    latents = (y_hat if tau == 0 else y_hat + tau * residual for tau in options.taus)
    return [to_pixels(paint(latent), channels) for latent in latents]


def _paint(base: ForeignBase, crop: Box, y_hat: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        x_hat = base.g_s(y_hat, torch.zeros(1, device=y_hat.device))[0]
    return x_hat[:, *crop.slices]


def _fuse(base: ForeignBase, part: Part, y_hat: Tensor, options: DecodeOptions, own_seed: int) -> Tensor:
    import torch

    from nicodec.networks.fuser import normals

    trained = find_trained("fuser", {part.id})
    if trained is None:
        raise MissingPartError(f"no fuser trained on {base.name} {part.id.hex()} is installed; decode with --tau 0")
    fuser = load_fuser(trained, str(y_hat.device))
    rows, columns = (slice(0, side) for side in y_hat.shape[2:])
    seed = own_seed if options.seed is None else options.seed
    noise = torch.from_numpy(normals(seed, rows, columns, y_hat.shape[1]))[None].to(y_hat.device)
    with torch.inference_mode():
        return fuser.residual(y_hat, y_hat.new_ones(1), noise, y_hat.new_zeros(1), options.steps)


def _find(foreign: Foreign, weights: Path | None) -> Part:
    if weights is None:
        try:
            return find_part("base", foreign.weights_id)
        except MissingPartError as error:
            raise MissingPartError(f"{error}; it is {foreign.name}: name its weights with --base-weights") from None
    part = part_of(weights, foreign.name)
    if part.id != foreign.weights_id:
        raise MissingPartError(
            f"{weights} has id {part.id.hex()}, but the file was written with {foreign.weights_id.hex()}"
        )
    return part


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise LimitError(f"{width}x{height} pixels are more than the {MAX_PIXELS} that a foreign base may have")
