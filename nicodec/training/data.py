"""Training pictures: decoded once, held as bytes where the network is, cropped there (`streamed`: some at a time)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nicodec.errors import TrainingDataError, brief
from nicodec.training.drawn import drawn

DRAWN = 10
GREY = 24
SHARDS = {".tar"}
SUFFIXES = {".avif", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}


class Pictures:
    """All pictures below some folders as uint8 tensors (3, H, W) on one device.

    Args:
        folders: searched recursively; files with other suffixes than pictures' are passed over.
        device: where the pixels lie, and the crops are cut.
        least: pictures with a side below this many pixels are left out.

    Attributes:
        fingerprint: of the names and sizes of the files that are held, in their order.
        unreadable: what Pillow does not read, or takes for an attack by its size: why, in a line each.

    Raises:
        TrainingDataError: no picture of that size could be read.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, least: int) -> None:
        self.least = least
        self.pictures: list[Tensor] = []
        self.unreadable: list[str] = []
        held = hashlib.sha256()
        for path, folder in _found(folders, SUFFIXES):
            try:
                picture = read_pixels(path)
            except Exception as error:  # what Pillow raises depends on the kind of damage
                self.unreadable.append(f"{path} is left out: {brief(error)}")
                continue
            if min(picture.shape[1:]) >= least:
                self.pictures.append(picture.to(device))
                held.update(_mark(path, folder))
        self.fingerprint = held.hexdigest()[:16]
        if not self.pictures:
            names = ", ".join(map(str, folders))
            raise TrainingDataError(f"no readable picture of at least {least}x{least} pixels below {names}")

    def __len__(self) -> int:
        return len(self.pictures)

    def some(self, count: int) -> list[Tensor]:
        """So many pictures (3, H, W), uint8, evenly spread over all, or all of fewer."""
        return self.pictures[:: max(1, len(self) // count)][:count]

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


def training_pictures(folders: Sequence[Path], device: torch.device, least: int) -> Pictures:
    """`Pictures` below some folders, or, where there are tars, those in them, streamed.

    Raises:
        TrainingDataError: as these; or there are pictures beside the tars.
    """
    from nicodec.training.streamed import Streamed

    if not (shards := found(folders, SHARDS)):
        return Pictures(folders, device, least)
    if beside := found(folders, SUFFIXES):
        raise TrainingDataError(f"{beside[0]} lies beside tars such as {shards[0]}, expected pictures or tars of them")
    return Streamed(folders, device, least)


def read_pixels(file: Path | IO[bytes]) -> Tensor:
    """A picture's pixels as RGB, uint8 (3, H, W). Raises: what Pillow does."""
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def fingerprint(folders: Sequence[Path]) -> str:
    """Of the names and sizes of all picture files and tars below some folders; none is read."""
    return hashlib.sha256(b"".join(_mark(*found) for found in _found(folders, SUFFIXES | SHARDS))).hexdigest()[:16]


def found(folders: Sequence[Path], suffixes: Set[str]) -> list[Path]:
    """Files below some folders that end so (lower case), in order."""
    return [path for path, _ in _found(folders, suffixes)]


def _found(folders: Sequence[Path], suffixes: Set[str]) -> list[tuple[Path, Path]]:
    """These, and the folders that they were found below."""
    held = {path: folder for folder in folders for path in folder.rglob("*") if path.suffix.lower() in suffixes}
    return sorted(held.items())


def _mark(path: Path, folder: Path) -> bytes:
    return f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode(errors="replace")


def _below(limit: int) -> int:
    return int(torch.randint(limit, ()).item())
