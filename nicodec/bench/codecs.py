"""What is measured: our codec and what people would pick instead. Each is bytes in, bytes out."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, features

from nicodec.errors import UsageError
from nicodec.options import DEFAULT_MODEL, DEFAULT_REFERENCES, DEFAULT_STEPS, parse_references


class Codec(Protocol):
    """One way to encode; `settings` are its quality settings in rising order of size."""

    name: str
    settings: tuple[float, ...]

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """An RGB image to the bytes of a file."""

    def decode(self, data: bytes) -> Image.Image:
        """The bytes of a file to an RGB image."""


@dataclass
class PillowCodec:
    """JPEG, WebP or AVIF through Pillow."""

    name: str
    kind: str
    settings: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        buffer = io.BytesIO()
        image.save(buffer, self.kind, quality=int(setting), **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        return Image.open(io.BytesIO(data)).convert("RGB")


@dataclass
class JpegXL:
    """JPEG XL through `cjxl` and `djxl` at default effort, as processes: their times include start and files."""

    name: str = "jxl"
    settings: tuple[float, ...] = (10, 25, 40, 55, 70, 80, 88, 94)

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        buffer = io.BytesIO()
        image.save(buffer, "PPM")
        return self._run(["cjxl", "-q", f"{setting:g}", "--quiet"], buffer.getvalue(), ".ppm", ".jxl")

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


@dataclass
class Nicodec:
    """Our codec, in process, with the checks that `nicodec encode` makes by default."""

    name: str = "nicodec"
    settings: tuple[float, ...] = (5, 18, 31, 44, 57, 70, 83, 96)
    model: str = DEFAULT_MODEL
    streams: str | None = None
    anchor: str = "fidelity"
    references: str | int = DEFAULT_REFERENCES
    tau: float = 0.0
    steps: int = DEFAULT_STEPS

    @classmethod
    def named(cls, name: str) -> Nicodec:
        """`nicodec[:sq|vq][:perception][:tau=T][:steps=N][:references=auto|off|N][@MODEL]`.

        Raises:
            UsageError: an option that is none of these.
        """
        choices, _, model = name.partition("@")
        codec = cls(name, model=model or DEFAULT_MODEL)
        for choice in choices.split(":")[1:]:
            key, _, value = choice.partition("=")
            try:
                if choice in ("sq", "vq"):
                    codec.streams = choice
                elif choice == "perception":
                    codec.anchor = choice
                elif key == "tau":
                    codec.tau = float(value)
                elif key == "steps":
                    codec.steps = int(value)
                elif key == "references":
                    codec.references = parse_references(value)
                else:
                    raise ValueError
            except ValueError:
                known = "sq, vq, perception, tau=T, steps=N, references=N"
                raise UsageError(f"{name}: {choice!r} is none of {known}") from None
        return codec

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        import nicodec

        return nicodec.encode(
            image, quality=setting, model=self.model, streams=self.streams, references=self.references
        )

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        import nicodec

        return nicodec.decode(data, anchor=self.anchor, tau=self.tau, steps=self.steps).convert("RGB")


class CompressAI:
    """A model of CompressAI's zoo whose weights are in torch's cache: its strings, and ten bytes of header."""

    HEAD = "<BHHHHB"  # quality, width, height, shape of z, number of strings

    def __init__(self, architecture: str) -> None:
        self.name = f"compressai:{architecture}"
        self.architecture = architecture
        self.settings = tuple(quality for quality in range(1, 9) if self._file(quality) is not None)
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


KNOWN: dict[str, Callable[[], Codec]] = {
    "nicodec": Nicodec,
    "jpeg": lambda: PillowCodec("jpeg", "JPEG", (5, 12, 25, 40, 60, 75, 87, 95)),
    "webp": lambda: PillowCodec("webp", "WEBP", (1, 10, 25, 45, 65, 80, 90, 96)),
    "avif": lambda: PillowCodec("avif", "AVIF", (15, 27, 38, 50, 61, 72, 83, 92), {"speed": 4, "subsampling": "4:4:4"}),
    "jxl": JpegXL,
    **{
        f"compressai:{name}": (lambda name=name: CompressAI(name))  # type: ignore[misc]
        for name in ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018", "cheng2020-anchor",
                     "cheng2020-attn")
    },
}  # fmt: skip


def missing(name: str) -> str | None:
    """Why a codec cannot be measured here, or None.

    Raises:
        UsageError: there is no codec of this name.
    """
    base = name.split("@")[0]
    if base.split(":")[0] == "nicodec":
        Nicodec.named(name)
        return None
    if base not in KNOWN:
        raise UsageError(f"no codec named {name}; known: {', '.join(KNOWN)}; of nicodec also :sq, :tau=1, @MODEL ..")
    if base == "jxl" and not (shutil.which("cjxl") and shutil.which("djxl")):
        return "cjxl and djxl are not installed"
    if base in ("webp", "avif") and not features.check(base):
        return f"this Pillow has no {base.upper()}"
    if base.startswith("compressai:"):
        try:
            return None if make(name).settings else "no weights of it in torch's cache"
        except ImportError as error:
            return f"compressai does not import: {error}"
    return None


def make(name: str) -> Codec:
    """The codec of a name."""
    return Nicodec.named(name) if name.split("@")[0].split(":")[0] == "nicodec" else KNOWN[name]()
