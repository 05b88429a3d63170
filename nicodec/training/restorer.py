"""Stage `restorer`: from JPEGs' pictures back to what they were made of, and to natural ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nicodec.image.files import read_picture
from nicodec.latents.geometry import to_input
from nicodec.networks.base import Base
from nicodec.networks.restorer import Restorer, RestorerConfig
from nicodec.training.checkpoint import fill
from nicodec.training.critic import Critic, natural_losses
from nicodec.training.data import Pictures
from nicodec.training.sq import psnr
from nicodec.training.stage import Stage
from nicodec.zoo.load import load_restorer
from nicodec.zoo.manifest import Part

QUALITIES, FINER = range(5, 61), range(61, 96)  # as Pillow numbers them
RARE = 8  # one in so many is of the finer ones, of which little is to be mended, and nothing may be spoilt
GREY = "L"
KINDS = ("4:2:0", "4:2:0", "4:2:0", "4:4:4", "4:4:4", GREY)  # each as often as it stands here
HELD_OUT = (10, 20, 40)
FIDELITY = 0.5  # weight of the logarithm of the squared error: a dB costs as much as 0.115 of likeness
LEAST_ERROR = 1e-5  # squared: 50 dB, beyond which nothing is to be gained

ChoiceT = TypeVar("ChoiceT")


@dataclass(frozen=True)
class Compressed:
    """A batch: what JPEGs were made of, their pictures (B, 3, H, W), 0..1, and how these were quantised (B, TOLD)."""

    x: Tensor
    x_hat: Tensor
    quantised: Tensor


class RestorerStage(Stage):
    """Stage `restorer`: one network, which is told whether to be close (log squared error) or natural (a critic)."""

    name = "restorer"
    module: Restorer

    def __init__(self, config: RestorerConfig, base: Base, critic: Critic, predecessor: Part | None = None) -> None:
        """`predecessor`: the restorer that it starts as; None: as the base's g_s."""
        self.module = Restorer(config)
        self.base, self.critic, self.predecessor = base, critic, predecessor

    def start(self, pictures: Pictures) -> None:
        """Start as the base's g_s, or as the predecessor, with further blocks that hand on what they are given.

        Raises:
            TrainingRunError: the predecessor is on another base, or has more blocks.
        """
        self.module.start_from(self.base)
        if self.predecessor is not None:
            before = load_restorer(self.predecessor, "cpu").state_dict()
            fill(self.module, {**self.module.state_dict(), **before}, self.predecessor.path)

    def loss(self, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Of a batch (B, 3, H, W), 0..1."""
        batch = compress(x, [_one_of(FINER if _one_of(range(RARE)) == 0 else QUALITIES) for _ in x],
                         [_one_of(KINDS) for _ in x])  # fmt: skip
        close, natural = self.restored(self.module, batch)
        error = (close - batch.x).square().mean((1, 2, 3))
        losses, figures = natural_losses(self.critic, natural, batch.x)
        loss = losses.mean() + FIDELITY * (error + LEAST_ERROR).log().mean()
        return loss, {**figures, "psnr_plain": psnr(batch.x_hat, batch.x), "psnr_close": psnr(close, batch.x)}

    def restored(self, module: Restorer, batch: Compressed) -> tuple[Tensor, Tensor]:
        """A batch's pictures as close as can be, and as natural as can be (B, 3, H, W)."""
        with torch.no_grad():
            y = self.base.g_a(batch.x_hat)
        told = [torch.cat([batch.quantised, torch.full_like(batch.quantised[:, :1], end)], 1) for end in (0.0, 1.0)]
        close = module(batch.x_hat, y, torch.zeros_like(y), told[0])
        return close, module(batch.x_hat, y, torch.randn_like(y), told[1])

    @torch.no_grad()
    def validate(self, module: nn.Module, pictures: Pictures) -> dict[str, Any]:
        """(PSNR, likeness, texture) of JPEGs of HELD_OUT qualities, 4:2:0: `plain`, `close`, `natural`.

        Means over 16 pictures.
        """
        assert isinstance(module, Restorer)
        torch.manual_seed(0)
        figures: dict[str, list[list[float]]] = {"plain": [], "close": [], "natural": []}
        for quality in HELD_OUT:
            rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in figures}
            for picture in pictures.some(16):
                batch = compress(picture[None, :, :512, :512].float() / 255, [quality], [KINDS[0]])
                for name, made in zip(figures, (batch.x_hat, *self.restored(module, batch)), strict=True):
                    shown = made.clamp(0, 1)
                    same, texture = self.critic(shown, batch.x)
                    rows[name].append((psnr(shown, batch.x), same.item(), texture.item()))
            for name, entries in rows.items():
                figures[name].append([round(sum(column) / len(entries), 4) for column in zip(*entries, strict=True)])
        return figures


def _one_of(choices: Sequence[ChoiceT]) -> ChoiceT:
    """Any, by torch's global CPU generator, as `Pictures` draws."""
    return choices[int(torch.randint(len(choices), ()))]


def compress(x: Tensor, qualities: Sequence[int], kinds: Sequence[str]) -> Compressed:
    """Pictures x (B, 3, H, W), 0..1, as JPEGs of these qualities and of these KINDS, as a decoder has them."""
    made = []
    levels = (255 * x).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    for pixels, quality, kind in zip(levels, qualities, kinds, strict=True):
        image = Image.fromarray(np.ascontiguousarray(pixels))
        options: dict[str, Any] = {"subsampling": kind}
        if kind == GREY:
            image, options = image.convert("L"), {}
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, **options)
        picture = read_picture(buffer.getvalue())
        assert picture.jpeg is not None
        source = np.asarray(image).reshape(*pixels.shape[:2], -1)
        made.append((to_input(source)[0], to_input(picture.pixels)[0], picture.jpeg.quantised))
    return Compressed(*(torch.from_numpy(np.stack(arrays)).to(x.device) for arrays in zip(*made, strict=True)))
