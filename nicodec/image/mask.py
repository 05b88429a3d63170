"""A picture that says where in another one quality matters."""

from __future__ import annotations

from nicodec.errors import UnsupportedPictureError
from nicodec.image.picture import Picture, Pixels


def to_mask(picture: Picture) -> Pixels:
    """The samples (H, W) of a picture in grey: 0 for no more than the usual quality, 255 for the best.

    Raises:
        UnsupportedPictureError: it has colours, or is transparent somewhere.
    """
    pixels, expected = picture.pixels, "expected grey: white is better, black as usual"
    if (pixels != pixels[:, :, :1]).any():
        raise UnsupportedPictureError(f"it has colours, {expected}")
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise UnsupportedPictureError(f"it is transparent in places, {expected}")
    return pixels[:, :, 0]
