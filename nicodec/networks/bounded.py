"""How far a painted picture may leave the linear synthesis of its latents: no further than quantisation explains.

Networks that never saw hard edges or fine checks can run away on them. What they add is then hundreds of times what
quantisation can have taken, where on photographs it is about as much at most; so it is told apart block by block.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nicodec.latents.geometry import PATCH
from nicodec.networks.layers import spread


def bounded(picture: Tensor, linear: Tensor, step: Tensor, limit: float) -> Tensor:
    """Lead a picture back to the linear synthesis where it has left it by too much.

    Args:
        picture, linear: (B, 3, H, W), about 0..1, sides multiples of PATCH.
        step: quantiser steps in natural units, (B, M, 1, 1) or a map of them.
        limit: what is added may have so many times the energy of quantisation noise, in a block of PATCH x PATCH
            pixels and those around it; from there to twice as much it fades.

    Returns:
        As `picture`; finite even where that is not.
    """
    added = picture - linear
    noise = (step.square() / 12).sum(1, keepdim=True) / (3 * PATCH**2)  # of a pixel: the transform is near orthonormal
    energy = F.avg_pool2d(added.square().mean(1, keepdim=True), PATCH)
    trust = (2 - energy / (limit * spread(noise, energy))).nan_to_num(0.0, neginf=0.0).clamp(0, 1)
    trust = -F.max_pool2d(-trust, 3, stride=1, padding=1)
    trust = F.interpolate(trust, scale_factor=PATCH, mode="bilinear", align_corners=False)
    return linear + torch.where(trust > 0, trust * added, 0.0)
