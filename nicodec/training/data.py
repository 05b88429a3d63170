"""Training pictures: decoded once, held as bytes where the network is, cropped there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from nicodec.errors import TrainingDataError
from nicodec.training.drawn import drawn

DRAWN = 10
GREY = 24
SUFFIXES = {".avif", ".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}


class Pictures:
    """All pictures below some folders as uint8 tensors (3, H, W) on one device.

    Args:
        folders: searched recursively; files with other suffixes than pictures' are passed over.
        device: where the pixels lie, and the crops are cut.
        least: pictures with a side below this many pixels are left out.

    Raises:
        TrainingDataError: no picture of that size could be read.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, least: int) -> None:
        self.least = least
        self.pictures: list[Tensor] = []
        found = {path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}
        for path in sorted(found):
            try:
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
            except (UnidentifiedImageError, OSError):
                continue
            if min(pixels.shape[:2]) >= least:
                self.pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().to(device))
        if not self.pictures:
            names = ", ".join(map(str, folders))
            raise TrainingDataError(f"no readable picture of at least {least}x{least} pixels below {names}")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, count: int, size: int) -> Tensor:
        """Random crops (count, 3, size, size), float 0..1: flipped, turned and, one in three, scaled down.

        One in DRAWN is no crop but a drawing, one in GREY has no colour.

        Draws from torch's global CPU generator, so that a seed per step makes a run resumable to the step.
        """
        return torch.stack([self._crop(size) for _ in range(count)])

    def _crop(self, size: int) -> Tensor:
        if _below(DRAWN) == 0:
            return drawn(size).to(self.pictures[0].device)
        picture = self.pictures[_below(len(self.pictures))]
        side = min(picture.shape[1:])
        source = size
        if _below(3) == 0:
            source = size + _below(min(side, 2 * size) - size + 1)
        top, left = _below(picture.shape[1] - source + 1), _below(picture.shape[2] - source + 1)
        crop = picture[:, top : top + source, left : left + source].float() / 255
        if source != size:
            crop = F.interpolate(crop[None], (size, size), mode="bilinear", antialias=True)[0]
        if _below(GREY) == 0:
            crop = crop.mean(0, keepdim=True).expand(3, -1, -1)
        if _below(2):
            crop = crop.flip(2)
        return torch.rot90(crop, _below(4), (1, 2))


def _below(limit: int) -> int:
    return int(torch.randint(limit, ()).item())
