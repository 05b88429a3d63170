"""Arrays and tensors as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from nicodec.errors import UnsupportedPictureError
from nicodec.image.picture import Picture


def from_array(array: Any) -> Picture:
    """A picture of a numpy array (H, W) or (H, W, 1..4), or a torch tensor (1..4, H, W): uint8, or floats 0..1.

    Raises:
        UnsupportedPictureError: another shape or dtype, no pixels, or floats outside 0..1.
    """
    is_tensor = type(array).__module__.partition(".")[0] == "torch"
    samples: np.ndarray[Any, Any] = array.detach().cpu().numpy() if is_tensor else np.asarray(array)
    if is_tensor and samples.ndim == 3:
        samples = samples.transpose(1, 2, 0)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    shape = "(1..4, H, W)" if is_tensor else "(H, W) or (H, W, 1..4)"
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4 or not samples.size:
        raise UnsupportedPictureError(f"the array has shape {tuple(array.shape)}, expected {shape}")
    if np.issubdtype(samples.dtype, np.floating):
        if not (samples.min() >= 0 and samples.max() <= 1):
            raise UnsupportedPictureError(f"floats are {samples.min():g}..{samples.max():g}, expected 0..1")
        samples = np.round(samples * 255).astype(np.uint8)
    if samples.dtype != np.uint8:
        raise UnsupportedPictureError(f"the array has dtype {samples.dtype}, expected uint8, or floats 0..1")
    channels = samples.shape[2]
    alpha = samples[:, :, -1].copy() if channels in (2, 4) else None
    return Picture(np.ascontiguousarray(samples[:, :, : 1 if channels < 3 else 3]), alpha)
