"""Pillow's colour modes to ours: grey or RGB, with or without alpha."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from nicodec.errors import UnsupportedPictureError
from nicodec.image.picture import Pixels

# Pillow's modes that convert to ours without loss, but for rounding in the last five.
TARGET_MODES = {
    "1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB",
    "La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB", "CMYK": "RGB",
}  # fmt: skip


def to_samples(image: Image.Image) -> tuple[Pixels, Pixels | None, list[str]]:
    """Pixels (H, W, 1 or 3), alpha (H, W) or None, and a sentence for each conversion that a user must be told of.

    Raises:
        UnsupportedPictureError: a colour mode that would be changed.
    """
    notes: list[str] = []
    if image.mode == "CMYK":
        image = _from_cmyk(image, notes)
    mode = TARGET_MODES.get(image.mode)
    if mode is None:
        raise UnsupportedPictureError(
            f"the picture has colour mode {image.mode}; expected RGB, RGBA, grey or CMYK: convert it first"
        )
    if "transparency" in image.info:
        mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
    samples = np.asarray(image.convert(mode))
    samples = samples.reshape(*samples.shape[:2], -1)
    alpha = samples[:, :, -1].copy() if mode in ("LA", "RGBA") else None
    grey = mode in ("L", "LA") or (image.mode in ("P", "PA") and bool((samples[:, :, :2] == samples[:, :, 1:3]).all()))
    return np.ascontiguousarray(samples[:, :, : 1 if grey else 3]), alpha, notes


def _from_cmyk(image: Image.Image, notes: list[str]) -> Image.Image:
    """To sRGB through the picture's own profile, if it has one that works."""
    profile = image.info.get("icc_profile")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None
        notes.append("CMYK was converted to sRGB through its ICC profile, which is not kept")
        return converted
    except (ImageCms.PyCMSError, OSError):
        notes.append("CMYK without a usable ICC profile was converted by formula: its colours are approximate")
        return image.convert("RGB")
