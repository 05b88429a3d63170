"""Defaults and ranges of everything a user can choose; the command line, its page and the API read them here."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicodec.container.layout import JPEG, MAX_REFERENCES, Hint
from nicodec.container.limits import DEFAULT_MAX_PIXELS
from nicodec.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nicodec.references.library import Held

DEFAULT_MODEL = "base2"
DEFAULT_QUALITY = 60.0
QUALITY_RANGE = (0.0, 100.0)
DEFAULT_EFFORT = 3
DEFAULT_TUNE = "eye"
EFFORT_RANGE = (1, 9)
TUNES = ("eye", "psnr")
STREAMS = ("sq", "vq", "sq+vq")
DEFAULT_REFERENCES = "off"
DRAWN = ("auto", "off", "all")
PICTURES = frozenset({  # suffixes of the files that are taken from folders
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".gif",
    ".ppm", ".pgm", ".pnm", ".pam",
})  # fmt: skip
LONGEST_CHAIN = 4  # files of a series that one of it needs one after another, at most, itself not counted
STRIPPABLE = ("all", "icc", "exif", "xmp")
ANCHORS = ("fidelity", "perception")
ENGINES = ("auto", "onnx", "torch")
SCALES = (1, 2, 4, 8, 16)
TAU_RANGE = (0.0, 1.0)
NATURAL_TAU = 0.7  # of the perception anchor, unless something is said
DEFAULT_STEPS = 1
STEPS_RANGE = (1, 8)
SEED_RANGE = (0, 2**64 - 1)


def parse_references(text: str) -> str | int:
    """`auto`, `off` or a number, as `EncodeOptions` takes it, which knows what is allowed."""
    try:
        return int(text)
    except ValueError:
        return text


def spell_tau(tau: float) -> str:
    """A tau in a name: short, and no two taus alike."""
    short = f"{tau:g}"
    return short if float(short) == tau else repr(float(tau))


def taus_of(taus: Sequence[float] | None, anchor: str) -> dict[str, Any]:
    """What `DecodeOptions` says of taus that a user asked for. None: nothing was said; empty: `auto`."""
    recommended = not taus and (taus is not None or anchor == "perception")
    return {"taus": tuple(taus or (0.0,)), "restored": bool(taus), "recommended": recommended}


def check_number(name: str, value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    """Refuse what is no number in `low`..`high`; nan and the infinities never are.

    Args:
        whole: integers only.

    Raises:
        UsageError: it is none.
    """
    right = isinstance(value, Integral if whole else Real)
    if not right or not low <= value <= high or value == math.inf:
        shown = f"{value:g}" if isinstance(value, float) else reprlib.repr(value)
        expected = f"{low:g} or more" if high == math.inf else f"{low}..{high}" if whole else f"{low:g}..{high:g}"
        raise UsageError(f"{name} is {shown}, expected {'a whole number, ' * whole}{expected}")


def check_engine(engine: str) -> None:
    """Refuse an engine that is not known.

    Raises:
        UsageError: it is none.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")


def check_scale(scale: int) -> None:
    """Refuse a scale that is none.

    Raises:
        UsageError: it is none.
    """
    if scale not in SCALES:
        raise UsageError(f"scale is {reprlib.repr(scale)}, expected one of {', '.join(map(str, SCALES))}")


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        quality: 0 (smallest file) .. 100 (closest to the original, not lossless), continuous.
        effort: 1 (quick) .. 9 (slow, smallest files); the decoder's time does not depend on it.
        tune: `eye` or `psnr`, what bits are spent for; a model that has one tune is coded in that.
        streams: `sq`, `vq` or `sq+vq`; None: all that the model has parts for, of those that the file can hold.
        token_bits: bits a token, from 1 to the depth of the model's codebook; None: that depth.
        robust: code tokens without regard to the SQ symbols: larger, but they survive damage there.
        references: pictures that the file may refer to, and that its decoder then needs; or how many entries of the
            model's dictionary: a number, `off`, or `auto`: some, where they pay.
        dictionaries: of pictures, in which such are searched too.
        recommend: write into the file which tau has as much texture as the original, for `decode --tau auto`.
        model: name of the model package.
        base: name of another codec in place of the model: such as `compressai:mbt2018-mean-q3`, or `jpeg`, which keeps
            a JPEG file as it is; streams, quality and effort then mean nothing.
        base_weights: its weights, a safetensors file. A JPEG has none.
        verify: decode the symbols again and compare, before the file is handed out; of what is no photograph, leave out
            tokens that nobody asked for, and references of `auto`, where they make a part of the picture worse.
        device: `auto`, `cpu` or `cuda`, for the float networks.
        drawn: which blocks are kept exactly: `auto`: those that cost less so, in bits and error at this quality; `off`:
            none; `all`: the picture is kept without loss. Without a latent, or with another codec, `auto` means none.
        roi: (h, w), which is stretched over the picture: 0 for the quality that was asked for .. 255 for a better one.
        engine: what runs them: `onnx` (CPU), `torch`; `auto` is torch on a GPU and for models without graphs.

    Raises:
        UsageError: quality, effort, references or bits a token out of range or no number, unknown tune, streams,
            drawn or engine.
    """

    quality: float = DEFAULT_QUALITY
    effort: int = DEFAULT_EFFORT
    tune: str = DEFAULT_TUNE
    streams: str | None = None
    token_bits: int | None = None
    robust: bool = False
    references: str | int | tuple[Held, ...] = DEFAULT_REFERENCES
    model: str = DEFAULT_MODEL
    base: str | None = None
    base_weights: Path | None = None
    verify: bool = True
    device: str = "auto"
    drawn: str = DRAWN[0]
    roi: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    engine: str = ENGINES[0]
    dictionaries: tuple[Path, ...] = ()
    recommend: bool = False

    @property
    def asks_for_tokens(self) -> bool:
        """Whether tokens are asked for, and not only welcome."""
        return self.streams in ("vq", "sq+vq") or self.token_bits is not None or self.robust

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_number("quality", self.quality, *QUALITY_RANGE)
        check_number("effort", self.effort, *EFFORT_RANGE, whole=True)
        if self.token_bits is not None:
            check_number("token bits", self.token_bits, 1, whole=True)
        if self.drawn not in DRAWN:
            raise UsageError(f"drawn is {self.drawn!r}, expected one of {', '.join(DRAWN)}")
        if self.drawn == "all" and not (self.base is None and self.streams is None and self.roi is None):
            raise UsageError("a picture that is all drawn has no other streams; leave out --streams, --base and --roi")
        if self.recommend and (self.base is not None or self.drawn == "all" or self.streams == "vq"):
            raise UsageError("a file without latents of ours has no tau to recommend; encode without --recommend")
        if self.tune not in TUNES:
            raise UsageError(f"tune is {self.tune!r}, expected one of {', '.join(TUNES)}")
        if self.streams is not None and self.streams not in STREAMS:
            raise UsageError(f"streams are {self.streams!r}, expected one of {', '.join(STREAMS)}")
        self._check_base()
        self._check_references()

    def _check_base(self) -> None:
        if self.base is not None and self.roi is not None:
            raise UsageError("another codec's weights have one quality; encode without a mask")
        if self.base == JPEG and (self.streams is not None or self.asks_for_tokens):
            raise UsageError("base jpeg keeps the file as it is; leave out --streams, --token-bits and --robust")
        if self.base in (None, JPEG) and self.base_weights is not None:
            raise UsageError("base weights are another codec's: name that as well (--base)")
        if self.base not in (None, JPEG) and self.base_weights is None:
            raise UsageError(
                f"base {self.base} takes a file with its weights (--base-weights); `models fetch` says which there are"
            )

    def _check_references(self) -> None:
        if self.refers:
            self.check_referring()
        if isinstance(self.references, tuple):
            if not 1 <= len(self.references) <= MAX_REFERENCES:
                raise UsageError(f"{len(self.references)} references, expected 1..{MAX_REFERENCES}")
        elif self.references not in ("auto", "off") and self.references not in range(1, MAX_REFERENCES + 1):
            raise UsageError(
                f"references are {reprlib.repr(self.references)}, expected auto, off or 1..{MAX_REFERENCES}"
            )

    def check_referring(self) -> None:
        """Raises: UsageError, files that are encoded so cannot refer to pictures."""
        if self.asks_for_tokens:
            raise UsageError("a file that refers to pictures has no tokens; leave out what is about them")
        if self.base is not None or self.drawn == "all":
            raise UsageError("a file of another codec, or all drawn, refers to no pictures")

    @property
    def refers(self) -> bool:
        """Whether there are pictures to refer to."""
        return isinstance(self.references, tuple) or bool(self.dictionaries)

    def decoding(self, pixels: int) -> DecodeOptions:
        """How its own encoder looks at a file of so many pixels: plainly."""
        referred = self.references if isinstance(self.references, tuple) else ()
        most = max(pixels, DEFAULT_MAX_PIXELS if self.refers else 0)
        return DecodeOptions(
            max_pixels=most, device=self.device, engine=self.engine, references=referred, dictionaries=self.dictionaries
        )


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode.

    Attributes:
        anchor: `fidelity` or `perception`, the expert that MoDE starts from.
        taus: a picture for each: 0 (closest to the original; the fuser is not even loaded) .. 1 (most natural).
        recommended: at the tau that the file recommends, in place of `taus`; where it does not, at NATURAL_TAU for the
            perception anchor (of files of version 1 at 0: there it has a picture of its own), and else at 0.
        restored: lead the picture of a file that keeps a JPEG from a mended one (tau 0) to a natural one (tau 1), as
            is done with any tau above 0; else it is the JPEG's own. Means nothing to other files.
        steps: of the fuser's diffusion, 1..8.
        seed: of its noise; None: from the file's own bytes.
        best_effort: decode what is whole of a damaged file.
        crop: decode only this part of the picture: (left, top, width, height) in pixels. None: all of it.
        max_pixels: most pixels that a file may declare; a small file can ask for a large picture, and for the time and
            memory that it takes. None: 2^27, and no more than files of its size have.
        memory_limit: bytes; a decode that is estimated to need more is refused before any network runs. None: no limit.
        base_weights: weights of the other codec that the file names, a safetensors file; None: an installed package.
        device: `auto`, `cpu` or `cuda`, for the float networks.
        engine: what runs them: `onnx` (CPU), `torch`; `auto` is torch on a GPU and for models without graphs.
        scale: 1, or by how many times the picture shall be smaller each way: 2, 4, 8 or 16, see `nicodec.scaled`.
        references: pictures that the file may refer to.
        beside: the folder that the file is from: what it refers to is looked for there too, by name.
        dictionaries: in which it is looked for too, before those in NICODEC_DICTIONARIES.

    Raises:
        UsageError: unknown anchor or engine, a negative corner or no pixels; a number out of range, or none; no tau;
            a scale that is none.
    """

    anchor: str = "fidelity"
    taus: tuple[float, ...] = (0.0,)
    steps: int = DEFAULT_STEPS
    seed: int | None = None
    best_effort: bool = False
    crop: tuple[int, int, int, int] | None = None
    max_pixels: int | None = None
    memory_limit: int | None = None
    base_weights: Path | None = None
    device: str = "auto"
    engine: str = ENGINES[0]
    scale: int = 1
    references: tuple[Held, ...] = ()
    beside: Path | None = None
    dictionaries: tuple[Path, ...] = ()
    restored: bool = False
    recommended: bool = False

    def settled(self, hint: Hint | None, *, led: bool) -> DecodeOptions:
        """What is asked for, now that it is known what the file recommends.

        Args:
            led: whether in this file the perception anchor paints as the other does, but where tau leads it.
        """
        if not self.recommended:
            return self
        usual = NATURAL_TAU if led and self.anchor == "perception" else 0.0
        return replace(self, taus=(usual if hint is None else hint.tau_percent / 100,), recommended=False)

    @property
    def restores(self) -> bool:
        """Whether a JPEG's picture is not to be its own."""
        return self.restored or max(self.taus) > 0

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_scale(self.scale)
        if self.anchor not in ANCHORS:
            raise UsageError(f"anchor is {self.anchor!r}, expected one of {', '.join(ANCHORS)}")
        if not self.taus:
            raise UsageError("no tau, expected one or more")
        for tau in self.taus:
            check_number("tau", tau, *TAU_RANGE)
        check_number("steps", self.steps, *STEPS_RANGE, whole=True)
        if self.seed is not None:
            check_number("seed", self.seed, *SEED_RANGE, whole=True)
        for name, limit in {"max pixels": self.max_pixels, "memory limit": self.memory_limit}.items():
            if limit is not None:
                check_number(name, limit, 1, whole=True)
        if self.crop is not None:
            if len(self.crop) != 4:
                raise UsageError(f"crop is {reprlib.repr(self.crop)}, expected left, top, width, height")
            for name, number, least in zip(("left", "top", "width", "height"), self.crop, (0, 0, 1, 1), strict=True):
                check_number(f"crop's {name}", number, least, whole=True)
