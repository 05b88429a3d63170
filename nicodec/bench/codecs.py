"""What is measured: our codec and its rivals by name. Each is bytes in, bytes out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from PIL import Image, features

from nicodec.bench.rivals import CompressAI, FlatJpeg, JpegXL, PillowCodec, RestoredJpeg
from nicodec.errors import DamagedPartError, MissingPartError, UsageError
from nicodec.options import DEFAULT_MODEL, DEFAULT_REFERENCES, DEFAULT_STEPS, DEFAULT_TUNE, TUNES, parse_references


class Codec(Protocol):
    """One way to encode; `settings` are its quality settings in rising order of size."""

    name: str
    settings: tuple[float, ...]

    @property
    def encoder(self) -> str:
        """Version and settings, so that somebody else can make the same bytes; `setting` stands for the quality."""

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """An RGB image to the bytes of a file."""

    def decode(self, data: bytes) -> Image.Image:
        """The bytes of a file to an RGB image."""


@dataclass
class Nicodec:
    """Our codec, in process, with the checks that `nicodec encode` makes by default."""

    name: str = "nicodec"
    settings: tuple[float, ...] = (5, 18, 31, 44, 57, 70, 83, 96)
    model: str = DEFAULT_MODEL
    tune: str = DEFAULT_TUNE
    streams: str | None = None
    anchor: str = "fidelity"
    references: str | int = DEFAULT_REFERENCES
    tau: float | None = None
    steps: int = DEFAULT_STEPS

    @classmethod
    def named(cls, name: str) -> Nicodec:
        """`nicodec[:tune=eye|psnr][:sq|vq][:perception][:tau=T][:steps=N][:references=auto|off|N][@MODEL]`.

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
                elif key == "tune" and value in TUNES:
                    codec.tune = value
                elif key == "tau":
                    codec.tau = float(value)
                elif key == "steps":
                    codec.steps = int(value)
                elif key == "references":
                    codec.references = parse_references(value)
                else:
                    raise ValueError
            except ValueError:
                known = "tune=psnr, sq, vq, perception, tau=T, steps=N, references=N"
                raise UsageError(f"{name}: {choice!r} is none of {known}") from None
        return codec

    @property
    def encoder(self) -> str:
        """As `Codec`."""
        from nicodec import __version__
        from nicodec.zoo.store import find_package

        package = find_package(self.model)
        parts = ", ".join(f"{kind} {part.id.hex()}" for kind, part in package.parts.items())
        options = {
            "tune": self.tune, "streams": self.streams or "default", "references": self.references,
            "anchor": self.anchor, "tau": "default" if self.tau is None else f"{self.tau:g}", "steps": self.steps,
        }  # fmt: skip
        said = ", ".join(["quality=setting", *(f"{key}={value}" for key, value in options.items())])
        return f"nicodec {__version__}, {package.name} ({parts}); {said}"

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """As `Codec`."""
        import nicodec

        return nicodec.encode(
            image, quality=setting, tune=self.tune, model=self.model, streams=self.streams, references=self.references
        )

    def decode(self, data: bytes) -> Image.Image:
        """As `Codec`."""
        import nicodec

        return nicodec.decode(data, anchor=self.anchor, tau=self.tau, steps=self.steps).convert("RGB")


JPEG = {"subsampling": "4:2:0", "progressive": True, "optimize": True}  # the least bits by PSNR and SSIMULACRA2
JPEG_QUALITIES = (5, 12, 25, 40, 60, 75, 87, 95)
AVIF = {"speed": 4, "subsampling": "4:4:4"}
AVIF_QUALITIES = (15, 27, 38, 50, 61, 72, 83, 92)

# A tune is named only where it is not the encoder's own default, which libraries change from version to version.
KNOWN: dict[str, Callable[[], Codec]] = {
    "nicodec": Nicodec,
    "jpeg": lambda: PillowCodec("jpeg", "JPEG", JPEG_QUALITIES, JPEG),
    **{
        f"jpeg:tau={tau}": partial(RestoredJpeg, f"jpeg:tau={tau}", "JPEG", JPEG_QUALITIES, JPEG, float(tau))
        for tau in ("0", "0.7", "1")
    },
    "jpeg:tune=psnr": lambda: FlatJpeg("jpeg:tune=psnr", "JPEG", (160, 67, 32, 20, 13, 8, 4, 2), JPEG),
    "webp": lambda: PillowCodec("webp", "WEBP", (1, 10, 25, 45, 65, 80, 90, 96), {"method": 6}),
    "avif": lambda: PillowCodec("avif", "AVIF", AVIF_QUALITIES, AVIF),
    "avif:tune=psnr": lambda: PillowCodec(
        "avif:tune=psnr", "AVIF", AVIF_QUALITIES, {**AVIF, "advanced": {"tune": "psnr"}}
    ),
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
    if base.startswith("jpeg:tau="):
        from nicodec.zoo.model import Model

        try:
            Model.restoring()
        except (DamagedPartError, MissingPartError) as error:
            return str(error)
    if base == "jxl" and not (shutil.which("cjxl") and shutil.which("djxl")):
        return "cjxl and djxl are not installed"
    kind = base.split(":")[0]
    if kind in ("webp", "avif") and not features.check(kind):
        return f"this Pillow has no {kind.upper()}"
    if base.startswith("compressai:"):
        try:
            return None if make(name).settings else "no weights of it in torch's cache"
        except ImportError as error:
            return f"compressai does not import: {error}"
    return None


def make(name: str) -> Codec:
    """The codec of a name."""
    return Nicodec.named(name) if name.split("@")[0].split(":")[0] == "nicodec" else KNOWN[name]()
