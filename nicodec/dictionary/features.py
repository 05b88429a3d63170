"""What a region looks like, as one vector: spatial pyramid pooling over its latent."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nicodec.container.layout import STRIDE
from nicodec.dictionary.asset import LAYOUT, LAYOUT_GRIDS
from nicodec.image.picture import Pixels
from nicodec.networks.base import Base
from nicodec.networks.layers import PATCH
from nicodec.networks.tiling import cut, to_input

TEXTURE_GRIDS = (1, 2)  # cells along a side
SEEN = 512  # pixels along a side, at most, of what stands for a picture


def strongest(std: Tensor, count: int) -> Tensor:
    """The `count` components of y with the largest spread, largest first: (count,) int64."""
    return std.argsort(descending=True)[:count]


def describe(y: Tensor, std: Tensor) -> Tensor:
    """The features of regions of any size.

    After CLC's spatial pyramid pooling, there of the maxima of a ResNet's last layer. Ours pools the codec's own
    latent, so that a dictionary needs no other network: signed means of the strongest components say what lies where,
    mean magnitudes of all of them what texture there is.

    Args:
        y: latents (B, M, h, w) in natural units, of one region each; h and w at least 4.
        std: spread of y on training pictures (M,).

    Returns:
        (B, F) float32.
    """
    unit = y / std[:, None, None]
    signed = unit[:, strongest(std, LAYOUT)]
    layout = [F.adaptive_avg_pool2d(signed, cells).flatten(1) / cells for cells in LAYOUT_GRIDS]
    texture = [F.adaptive_avg_pool2d(unit.abs(), cells).log1p().flatten(1) / cells for cells in TEXTURE_GRIDS]
    return torch.cat([*layout, *texture], 1).float()


def central(pixels: Pixels) -> Pixels:
    """The middle of a picture (h, w, C), which stands for all of it: SEEN pixels a side at most, multiples of 64.

    Sides of less than 64 pixels are filled up by their last row or column.
    """
    spans = []
    for length in pixels.shape[:2]:
        side = max(STRIDE, min(SEEN, length // STRIDE * STRIDE))
        start = max(0, length - side) // 2 // PATCH * PATCH
        spans.append(slice(start, start + side))
    return cut(pixels, spans[0], spans[1])


@torch.inference_mode()
def features_of(pixels: Pixels, base: Base) -> NDArray[np.float32]:
    """The features (F,) of a picture (h, w, 1 or 3), as one region: of its middle."""
    return describe(base.g_a(to_input(central(pixels), base.std.device)), base.std)[0].cpu().numpy()
