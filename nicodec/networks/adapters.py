"""CompressAI's models as bases: their own strings, their latents, and what tau may do to these.

Their entropy path is float: a file decodes where it was written, and is not promised to on another machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nicodec.container.layout import Foreign
from nicodec.errors import CorruptFileError

PREFIX = "compressai:"
ARCHITECTURES = (
    "bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018", "cheng2020-anchor", "cheng2020-attn",
)  # fmt: skip
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
        with warnings.catch_warnings(action="ignore"):
            from compressai.zoo import image_models

        self.name = f"{PREFIX}{architecture}-q{quality}"
        self.model: Any = image_models[architecture](quality=quality, metric="mse", pretrained=False)
        self.model.load_state_dict(state)
        self.model.eval().requires_grad_(False)

    @property
    def channels(self) -> int:
        """Of the latent."""
        return int(self.model.M) if hasattr(self.model, "M") else int(self.model.N)

    @torch.inference_mode()
    def compress(self, x: Tensor) -> tuple[list[bytes], tuple[int, int]]:
        """Pixels x (1, 3, H, W), 0..1, any size, to the model's strings and the shape of its last latent."""
        out = self.model.compress(fill(x))
        return [string for (string,) in out["strings"]], (int(out["shape"][0]), int(out["shape"][1]))

    @torch.inference_mode()
    def latent(self, foreign: Foreign) -> Tensor:
        """The strings of a file to y_hat (1, M, H/16, W/16).

        Raises:
            CorruptFileError: they do not decode, or not to a latent.
        """
        try:
            with _Tap(self.model) as tap:
                self.model.decompress([[string] for string in foreign.strings], foreign.shape)
            return tap.seen
        except (ValueError, RuntimeError, IndexError, AssertionError) as error:
            raise CorruptFileError(f"the strings do not decode with {self.name}: {error!r}") from None

    @torch.no_grad()
    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels x (B, 3, H, W), 0..1, sides multiples of 64, to y and y_hat (B, M, H/16, W/16), by rounding."""
        with _Tap(self.model) as tap:
            self.model(x)
        return self.model.g_a(x), tap.seen

    def g_s(self, y_hat: Tensor, rate: Tensor) -> Tensor:
        """y_hat to pixels (B, 3, H, W), about 0..1; there is one rate only."""
        x_hat: Tensor = self.model.g_s(y_hat)
        return x_hat


class _Tap(nn.Module):
    """Stands in for g_s while a model runs, and keeps what g_s would have got."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.g_s = (model,), model.g_s  # the tuple keeps torch from taking it for a part of ours
        self.seen = torch.empty(0)

    def forward(self, y_hat: Tensor) -> Tensor:
        self.seen = y_hat
        return y_hat.new_zeros(1)

    def __enter__(self) -> _Tap:
        self.model[0].g_s = self
        return self

    def __exit__(self, *_: object) -> None:
        self.model[0].g_s = self.g_s


def fill(x: Tensor) -> Tensor:
    """Repeat the right and bottom edges until the sides are multiples of MULTIPLE."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")


def parse_name(name: str) -> tuple[str, int] | None:
    """`compressai:mbt2018-mean-q3` to its architecture and quality; None where it is none that is known."""
    architecture, _, quality = name.removeprefix(PREFIX).rpartition("-q")
    known = name.startswith(PREFIX) and architecture in ARCHITECTURES and quality in "12345678" and len(quality) == 1
    return (architecture, int(quality)) if known else None
