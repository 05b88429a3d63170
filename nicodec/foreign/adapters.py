"""CompressAI's models as bases: their own strings, their latents, and what tau may do to these.

Their entropy path is float: a file decodes where it was written, and is not promised to on another machine.
"""

from __future__ import annotations

import copy
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.container.layout import SYMBOLS_CRC_BYTES, Foreign
from nicodec.errors import CorruptFileError, brief, out_of_memory

PREFIX = "compressai:"
ARCHITECTURES = (
    "bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018", "cheng2020-anchor", "cheng2020-attn",
)  # fmt: skip
HIGHEST = {"cheng2020-anchor": 6, "cheng2020-attn": 6}  # qualities, of those that do not go up to MOST
MOST = 8
MULTIPLE = 64  # of pixels, that sides are filled up to


class ForeignBase(nn.Module):
    """A frozen CompressAI model.

    ::

        x ─► g_a ─► y ─► its entropy coder ─► strings ─► its decoder ─► y_hat ─► [fuser, tau] ─► g_s ─► x_hat

    Args:
        architecture: one of ARCHITECTURES.
        quality: 1..8 (cheng2020: 1..6), which decides the widths.
        state: weights of a model of that kind, with its tables of probabilities.

    Raises:
        KeyError, ValueError, RuntimeError: the weights are of another kind.
    """

    def __init__(self, architecture: str, quality: int, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.name = f"{PREFIX}{architecture}-q{quality}"
        self.config = {"architecture": architecture, "quality": quality}
        self.model = untrained(architecture, quality)
        self.model.load_state_dict(state)
        self.model.eval().requires_grad_(False)

    @property
    def channels(self) -> int:
        """Of the latent."""
        return int(self.model.M) if hasattr(self.model, "M") else int(self.model.N)

    @torch.inference_mode()
    def compress(self, x: Tensor) -> tuple[tuple[int, int], list[bytes], int]:
        """Pixels x (1, 3, H, W), 0..1, any size, to `shape`, `strings` and `crc` of a `Foreign`."""
        twin, recorder = _recording(self.model)
        out = twin.compress(fill(x))
        shape = int(out["shape"][0]), int(out["shape"][1])
        return shape, [string for (string,) in out["strings"]], symbols_crc(recorder.symbols())

    @torch.inference_mode()
    def latent(self, foreign: Foreign) -> tuple[Tensor, NDArray[np.int32]]:
        """The strings of a file to y_hat (1, M, H/16, W/16), and y's symbols as `symbols_crc` takes them.

        CompressAI reads past the end of a string that is too short, which can end the process: `foreign.isolated`.

        Raises:
            CorruptFileError: they do not decode.
        """
        twin, recorder = _recording(self.model)
        try:
            twin.decompress([[string] for string in foreign.strings], foreign.shape)
        except Exception as error:  # what it raises depends on the kind of damage
            if out_of_memory(error):
                raise
            raise CorruptFileError(f"the strings do not decode with {self.name}: {brief(error)}") from None
        return recorder.y_hat, recorder.symbols()

    @torch.no_grad()
    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels x (B, 3, H, W), 0..1, sides multiples of 64, to y and y_hat (B, M, H/16, W/16), by rounding."""
        twin, recorder = _recording(self.model)
        twin(x)
        return self.model.g_a(x), recorder.y_hat

    def g_s(self, y_hat: Tensor, rate: Tensor) -> Tensor:
        """y_hat to pixels (B, 3, H, W), about 0..1; there is one rate only."""
        x_hat: Tensor = self.model.g_s(y_hat)
        return x_hat


def untrained(architecture: str, quality: int) -> Any:
    """One of CompressAI's models, with weights that mean nothing."""
    with warnings.catch_warnings(action="ignore"):
        from compressai.zoo import image_models

    return image_models[architecture](quality=quality, metric="mse", pretrained=False)


class _Recorder(nn.Module):
    """Stands where g_s does and keeps what it gets: y_hat; and what passes through the coder of y: symbols."""

    def __init__(self) -> None:
        super().__init__()
        self.y_hat = torch.empty(0)
        self.pieces: list[NDArray[np.int32]] = []

    def forward(self, y_hat: Tensor) -> Tensor:
        self.y_hat = y_hat
        return y_hat.new_zeros(1)

    def record(self, symbols: Tensor) -> None:
        """Symbols (1, M, ..) of the next positions in raster order: all at once, or one by one."""
        rows = symbols.reshape(symbols.shape[1], -1).T
        self.pieces.append(rows.cpu().numpy().astype(np.int32))

    def symbols(self) -> NDArray[np.int32]:
        """All that were recorded: (positions, M)."""
        return np.concatenate(self.pieces)


def _recording(model: Any) -> tuple[Any, _Recorder]:
    """A twin of a model, with all weights in common, and what records the latent in it.

    The model itself stays as it is, for other threads may be at work in it.
    """
    name = "gaussian_conditional" if hasattr(model, "gaussian_conditional") else "entropy_bottleneck"
    recorder, coder = _Recorder(), copy.copy(getattr(model, name))

    def quantize(inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        outputs: Tensor = type(coder).quantize(coder, inputs, mode, means)
        if mode == "symbols":
            recorder.record(outputs)
        return outputs

    def dequantize(symbols: Tensor, *rest: Any) -> Tensor:
        recorder.record(symbols)
        outputs: Tensor = type(coder).dequantize(symbols, *rest)
        return outputs

    coder.quantize, coder.dequantize = quantize, dequantize
    own = {name: coder, "g_s": recorder}
    if hasattr(model, "context_prediction"):
        own["context_prediction"] = _with_own_weight(model.context_prediction)
    return twin_of(model, own), recorder


def twin_of(model: Any, own: Mapping[str, nn.Module]) -> Any:
    """A model with all weights in common with another one, and some modules of its own, by name."""
    twin = copy.copy(model)
    vars(twin)["_modules"] = {**model._modules, **own}
    return twin


def _with_own_weight(convolution: nn.Module) -> nn.Module:
    """A masked convolution whose weight is a tensor of its own, over the same memory.

    CompressAI's assigns its weight anew at each call, which frees the memory that other threads are reading.
    """
    twin = copy.copy(convolution)
    weight = nn.Parameter(convolution.weight.data, requires_grad=False)  # type: ignore[arg-type]
    vars(twin)["_parameters"] = {**convolution._parameters, "weight": weight}
    return twin


def symbols_crc(symbols: NDArray[np.int32]) -> int:
    """The low 24 bits of the CRC-32 over y's symbols (positions in raster order, M), little-endian int32 in C order.

    A symbol is the whole number that the coder of y codes: y minus its predicted mean, rounded.
    """
    return zlib.crc32(symbols.astype("<i4").tobytes()) & (1 << 8 * SYMBOLS_CRC_BYTES) - 1


def fill(x: Tensor) -> Tensor:
    """Repeat the right and bottom edges until the sides are multiples of MULTIPLE."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")


def parse_name(name: str) -> tuple[str, int] | None:
    """`compressai:mbt2018-mean-q3` to its architecture and quality; None where it is none that is known."""
    architecture, _, quality = name.removeprefix(PREFIX).rpartition("-q")
    known = name.startswith(PREFIX) and architecture in ARCHITECTURES and len(quality) == 1 and quality.isdecimal()
    return (architecture, int(quality)) if known and 1 <= int(quality) <= highest(architecture) else None


def highest(architecture: str) -> int:
    """The best quality that there is of one."""
    return HIGHEST.get(architecture, MOST)
