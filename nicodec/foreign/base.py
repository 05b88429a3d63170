"""Files whose latents are another codec's: its own strings in our container, and tau on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nicodec.bases import Checked, Streams, header_of
from nicodec.container.layout import Anchor, Box, Colour, Foreign, Section, SectionType
from nicodec.container.payloads import read_foreign
from nicodec.container.reader import NicFile
from nicodec.container.writer import write_foreign
from nicodec.engines import Array
from nicodec.errors import DamagedPartError, LimitError, MissingPartError, UsageError
from nicodec.foreign.isolated import DECODER
from nicodec.image.picture import Picture, Pixels
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.painters import Rendering
from nicodec.rate.tile import TileRate
from nicodec.streams import check_crc
from nicodec.zoo.load import is_foreign, load_foreign
from nicodec.zoo.manifest import Part, part_id
from nicodec.zoo.model import Model
from nicodec.zoo.store import find_package, find_part

if TYPE_CHECKING:
    from nicodec.foreign.adapters import ForeignBase

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


class ForeignEncoder:
    """Another codec at work on pictures, see `bases.Encoder`. It has one quality: no rate means anything."""

    def __init__(self, part: Part, options: EncodeOptions) -> None:
        self.part, self.options = part, options

    def analyse(self, picture: Picture) -> Picture:
        """As `Encoder`: all is done in `code`.

        Raises:
            LimitError: more than MAX_PIXELS pixels.
        """
        _check_size(picture.width, picture.height)
        return picture

    def code(self, analysed: Picture, rate: int) -> Streams:
        """As `Encoder`.

        Raises:
            InexactError: the symbols do not come back from the strings (with `options.verify`).
            DamagedPartError: the part holds no foreign base.
        """
        import torch

        from nicodec.engines.torch import resolve_device
        from nicodec.latents.geometry import to_input

        place = resolve_device(self.options.device)
        base = load_foreign(self.part, place)
        x = torch.from_numpy(to_input(analysed.pixels)).to(place)
        foreign = Foreign(base.name, self.part.id, *base.compress(x))
        if self.options.verify:
            _decode(foreign, self.part, place, analysed.width * analysed.height)
        section = Section(SectionType.FOREIGN, write_foreign(foreign))
        return Streams(header_of(analysed, TileRate(rate)), [section])


class ForeignDecoder:
    """Another codec at work on a file, see `bases.Decoder`.

    Raises:
        LimitError: more than MAX_PIXELS pixels.
    """

    def __init__(self, file: NicFile, options: DecodeOptions, rendering: Rendering) -> None:
        foreign = read_foreign(file)
        assert foreign is not None
        self.header, self.foreign, self.options, self.rendering = file.header, foreign, options, rendering
        _check_size(self.header.width, self.header.height)

    def parse(self, crop: Box) -> Array:
        """As `Decoder`: y_hat of the whole picture, for there are no tiles.

        Raises:
            CorruptFileError, InexactError: the strings do not decode, or not to the symbols of which they have the CRC.
            UsageError: asked for perception: there are no tokens.
            MissingPartError, DamagedPartError: the weights are not installed, or not whole.
        """
        if self.rendering.anchor is not Anchor.FIDELITY:
            raise UsageError(f"the file is {self.foreign.name}'s and has no tokens; decode with --anchor fidelity")
        DECODER.start()
        return _decode(self.foreign, self.part, self.place, self.header.width * self.header.height)[0]

    def synthesise(self, parsed: Array, crop: Box) -> list[Pixels]:
        """As `Decoder`.

        Raises:
            MissingPartError, DamagedPartError: a fuser trained on the weights is not installed, or not whole.
        """
        from nicodec.latents.geometry import to_pixels

        rendering, rates = self.rendering, np.zeros(1, np.float32)
        residual = self._residual(parsed, rates) if max(rendering.taus) > 0 else None
        painted = self.painter.paint(rendering.anchor, parsed, None, rates, residual, rendering.taus)
        channels = 1 if self.header.colour is Colour.GREY else 3
        return [to_pixels(x_hat[0][:, *crop.slices], channels) for x_hat in painted]

    def verify(self) -> Checked:
        """As `Decoder`.

        Raises:
            CorruptFileError, InexactError: as `parse`.
            DamagedPartError, MissingPartError, UsageError: the weights that are named are not the file's.
        """
        try:
            part = self.part
        except MissingPartError as error:
            if self.options.base_weights is not None:
                raise
            return Checked(unchecked=str(error))
        _, count, _ = _decode(self.foreign, part, "cpu", self.header.width * self.header.height)
        if self.foreign.crc is None:
            return Checked(unchecked="the strings decode, but the file has no CRC of their symbols")
        return Checked(count)

    @cached_property
    def part(self) -> Part:
        """The weights."""
        return weights_of(self.foreign, self.options.base_weights)

    @cached_property
    def place(self) -> str:
        """The device."""
        from nicodec.engines.torch import resolve_device

        return resolve_device(self.options.device)

    @cached_property
    def painter(self) -> ForeignPainter:
        """The codec's own g_s."""
        return ForeignPainter(load_foreign(self.part, self.place), self.place)

    def _residual(self, y_hat: Array, rates: Array) -> Array:
        from nicodec.painters.fuser import normals

        model = Model.installed({"base": self.part.id}, self.options.engine, self.options.device)
        rows, columns = (slice(0, side) for side in y_hat.shape[2:])
        noise = normals(self.rendering.seed, rows, columns, y_hat.shape[1])[None]
        step = np.ones((1, y_hat.shape[1], 1, 1), np.float32)
        return model.fuser.residual(y_hat, step, noise, rates, self.rendering.steps)


@dataclass(frozen=True)
class ForeignPainter:
    """Paints with another codec's g_s, see `painters.Painter`: what tau adds, it adds to the latent."""

    base: ForeignBase
    device: str

    def paint(
        self, anchor: Anchor, y_hat: Array | None, code: Array | None, rates: Array,
        residual: Array | None = None, taus: Sequence[float] = (0.0,),
    ) -> list[Array]:  # fmt: skip
        """As `Painter`."""
        import torch

        assert y_hat is not None
        pictures = []
        for tau in taus:
            latent = y_hat if residual is None or tau == 0 else y_hat + np.float32(tau) * residual
            with torch.inference_mode():
                x_hat = self.base.g_s(torch.from_numpy(latent).to(self.device), torch.from_numpy(rates))
            pictures.append(x_hat.cpu().numpy())
        return pictures


def _decode(foreign: Foreign, part: Part, device: str, pixels: int) -> tuple[Array, int, int]:
    """As `Decoder.decode`, and the symbols' CRC holds, if there is one."""
    decoded = DECODER.decode(foreign, part, device, pixels)
    if foreign.crc is not None:
        check_crc("symbols", decoded[2], foreign.crc)
    return decoded


def weights_of(foreign: Foreign, weights: Path | None) -> Part:
    """The weights that a file names: those in a file of the caller's, or else an installed package's.

    Raises:
        MissingPartError, DamagedPartError, UsageError: there are none, or they are not whole, or others.
    """
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
