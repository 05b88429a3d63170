"""Stage `foreign`: one of CompressAI's models, trained as they are, for a fuser to stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nicodec.foreign.adapters import ARCHITECTURES, highest, twin_of, untrained
from nicodec.training.data import Pictures
from nicodec.training.sq import psnr
from nicodec.training.stage import Stage

LAMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)  # CompressAI's, by quality 1..8
QUANTILES = 1e-3  # weight of what finds the tables' ends: gradients are limited together, and AdamW knows no units


@dataclass(frozen=True)
class ForeignConfig:
    """Which of CompressAI's models. Raises: ValueError: they have no such architecture, or not of this quality."""

    architecture: str = "mbt2018-mean"
    quality: int = 3

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture is {self.architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
        if not 1 <= self.quality <= highest(self.architecture):
            raise ValueError(f"quality is {self.quality}, expected 1 to {highest(self.architecture)}")


def build(config: ForeignConfig) -> Any:
    """The model, untrained; `config` is its attribute."""
    model = untrained(config.architecture, config.quality)
    model.config = config
    return model


class ForeignStage(Stage):
    """Stage `foreign`: bits a pixel + lambda 255^2 MSE, under the noise that CompressAI puts in the place of rounding.

    The transforms run in bf16 where the loop would; likelihoods are differences of which bf16 leaves nothing.
    """

    name = "foreign"

    def __init__(self, config: ForeignConfig) -> None:
        self.module = build(config)

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        module: Any = self.module
        bits, x_hat = _coded(module, x)
        error = (x_hat - x).square().mean()
        loss = bits + LAMBDAS[module.config.quality - 1] * 255**2 * error
        return loss + QUANTILES * module.aux_loss(), {"bpp": bits.item(), "psnr": psnr(x_hat, x)}

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """Estimated bits a pixel and PSNR, rounded as in files: means over 16 pictures, 512x512 of each."""
        rows = []
        for picture in pictures.some(16):
            x = picture[None, :, :512, :512].float() / 255
            bits, x_hat = _coded(module, x)
            rows.append((bits.item(), psnr(x_hat.clamp(0, 1), x)))
        bpp, decibels = (round(sum(column) / len(rows), 4) for column in zip(*rows, strict=True))
        return {"bpp": bpp, "psnr": decibels}


class _MixedPrecision(nn.Module):
    """A transform, in bf16 or not, from float32 to float32."""

    def __init__(self, transform: nn.Module, bf16: bool) -> None:
        super().__init__()
        self.transform, self.bf16 = transform, bf16

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            transformed: Tensor = self.transform(x)
        return transformed.float()


def _coded(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Bits a pixel, estimated, and x_hat (B, 3, H, W), of x; all but the transforms in float32."""
    bf16 = torch.is_autocast_enabled(x.device.type)
    transforms = {name: _MixedPrecision(module.get_submodule(name), bf16) for name in ("g_a", "g_s")}
    with torch.autocast(x.device.type, enabled=False):
        out = twin_of(module, transforms)(x)
    pixels = x.numel() / x.shape[1]
    bits = sum(-likelihoods.log2().sum() for likelihoods in out["likelihoods"].values()) / pixels
    assert isinstance(bits, Tensor)
    return bits, out["x_hat"]
