"""What people would pick instead of our codec, and models of research; each at the best settings that it has."""

from __future__ import annotations

import io
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image, features
from PIL import __version__ as pillow_version

LIBRARIES = {"JPEG": "libjpeg_turbo", "WEBP": "webp", "AVIF": "avif"}  # as Pillow names what it is linked with


@dataclass
class PillowCodec:
    """JPEG, WebP or AVIF through Pillow, by the `quality` of its `save` and other options of it."""

    name: str
    kind: str
    settings: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder(self) -> str:
        """As `Codec`."""
        library = LIBRARIES[self.kind]
        versions = f"{library} {features.version(library)}"
        if self.kind == "AVIF":
            from PIL import _avif

            versions += f", {_avif.codec_versions()}"
        return f"Pillow {pillow_version}, {versions}; {self._said()}"

    def _said(self) -> str:
        return ", ".join(["quality=setting", *(f"{key}={value!r}" for key, value in self.options.items())])

    def _options(self, setting: float) -> dict[str, Any]:
        return {"quality": int(setting), **self.options}

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        buffer = io.BytesIO()
        image.save(buffer, self.kind, **self._options(setting))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        return Image.open(io.BytesIO(data)).convert("RGB")


class FlatJpeg(PillowCodec):
    """JPEG for PSNR: one quantiser step, the setting, for all frequencies, as the least squared error asks."""

    def _said(self) -> str:
        return ", ".join(["qtables=[[setting] * 64]", *(f"{key}={value!r}" for key, value in self.options.items())])

    def _options(self, setting: float) -> dict[str, Any]:
        return {"qtables": [[int(setting)] * 64], **self.options}


@dataclass
class RestoredJpeg(PillowCodec):
    """The same JPEG, and the picture that `nicodec restore` makes of it."""

    tau: float = 0.0

    @property
    def encoder(self) -> str:
        """As `Codec`."""
        from nicodec import __version__
        from nicodec.zoo.model import Model

        ids = Model.restoring().ids
        parts = ", ".join(f"{kind} {ids[kind].hex()}" for kind in ("base", "restorer"))
        return f"{super().encoder}; decoded by nicodec {__version__} ({parts}), tau={self.tau:g}"

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        import nicodec

        return nicodec.decode(nicodec.encode(data, base="jpeg"), tau=self.tau).convert("RGB")


@dataclass
class JpegXL:
    """JPEG XL through `cjxl` and `djxl` at default effort, as processes: their times include start and files."""

    name: str = "jxl"
    settings: tuple[float, ...] = (10, 25, 40, 55, 70, 80, 88, 94)

    @property
    def encoder(self) -> str:
        """As `Codec`."""
        said = subprocess.run(["cjxl", "--version"], check=True, capture_output=True, text=True)
        version = (said.stdout or said.stderr).partition("\n")[0].split("[")[0].strip()
        return f"{version}; -q setting -e 7"

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        buffer = io.BytesIO()
        image.save(buffer, "PPM")
        return self._run(["cjxl", "-q", f"{setting:g}", "-e", "7", "--quiet"], buffer.getvalue(), ".ppm", ".jxl")

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        return Image.open(io.BytesIO(self._run(["djxl", "--quiet"], data, ".jxl", ".ppm"))).convert("RGB")

    def _run(self, command: list[str], data: bytes, before: str, after: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / f"a{before}", Path(folder) / f"b{after}"
            source.write_bytes(data)
            program, *options = command
            subprocess.run([program, source, target, *options], check=True, capture_output=True)
            return target.read_bytes()


class CompressAI:
    """A model of CompressAI's zoo whose weights are in torch's cache: its strings, and ten bytes of header."""

    HEAD = "<BHHHHB"  # quality, width, height, shape of z, number of strings

    def __init__(self, architecture: str) -> None:
        self.name = f"compressai:{architecture}"
        self.architecture = architecture
        self.settings = tuple(quality for quality in range(1, 9) if self._file(quality) is not None)
        self.encoder = f"compressai {metadata.version('compressai')}, trained for MSE"
        self._models: dict[float, Any] = {}

    def _file(self, quality: int) -> Path | None:
        import torch
        from compressai.zoo.image import model_urls

        url = model_urls.get(self.architecture, {}).get("mse", {}).get(quality)
        path = Path(torch.hub.get_dir()) / "checkpoints" / str(url).rsplit("/", 1)[-1]
        return path if path.is_file() else None

    def _model(self, quality: float) -> Any:
        if quality not in self._models:
            from compressai.zoo import image_models

            model = image_models[self.architecture](quality=int(quality), metric="mse", pretrained=True)
            self._models = {quality: model.eval()}
        return self._models[quality]

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        import numpy as np
        import torch
        from torch.nn import functional as F

        x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
        with torch.inference_mode():
            out = self._model(setting).compress(padded)
        head = struct.pack(self.HEAD, int(setting), width, height, *out["shape"], len(out["strings"]))
        return head + b"".join(struct.pack("<I", len(string)) + string for (string,) in out["strings"])

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        import torch

        from nicodec.latents.geometry import to_pixels

        at, strings = struct.calcsize(self.HEAD), []
        quality, width, height, rows, columns, count = struct.unpack(self.HEAD, data[:at])
        for _ in range(count):
            (length,) = struct.unpack("<I", data[at : at + 4])
            strings.append([data[at + 4 : at + 4 + length]])
            at += 4 + length
        with torch.inference_mode():
            x_hat = self._model(quality).decompress(strings, (rows, columns))["x_hat"]
        return Image.fromarray(to_pixels(x_hat[0, :, :height, :width].numpy(), 3))
