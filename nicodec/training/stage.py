"""What all stages of training have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from nicodec.training.data import Pictures


class Stage(ABC):
    """What a stage brings to the loop.

    Attributes:
        name: that it is called by.
        module: what is trained, with a dataclass `config` that builds it again.
        least: pixels of a crop's side, at least.
        slow: parts of names of parameters that start well already and move at a tenth of the rate.
        quick: of few parameters, whose gradients are means of much, and which move at hundreds of times the rate.
        muon: parts of names of modules whose matrices Muon moves; all else is AdamW's.
    """

    name: str
    module: nn.Module
    least: int = 64
    slow: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    muon: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """The fields of the module's config."""
        config: Any = self.module.config
        return asdict(config)

    def start(self, pictures: Pictures) -> None:  # noqa: B027  # many modules start as they are built
        """Initialise from the training pictures, before the first step."""

    @abstractmethod
    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch (B, 3, H, W), 0..1, and figures for the record (bpp, PSNR ..)."""

    @abstractmethod
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """Figures of the EMA weights on held-out pictures."""
