"""What a caller gives as a picture, a mask or a file: Pillow's images, arrays, bytes, paths, file objects.

Importing this loads neither numpy nor Pillow.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from nicodec.errors import InputError, UnsupportedPictureError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor
    from typing_extensions import Buffer

    from nicodec.image.picture import Picture, Pixels

    AnyFile = IO[bytes] | Buffer | str | os.PathLike[str]
    AnyPicture = Image.Image | NDArray[Any] | Tensor | AnyFile


def picture_of(
    given: AnyPicture, frame: int | None = None, *, allow_8bit: bool = False, allow_damaged: bool = False
) -> Picture:
    """What `nicodec.encode` takes, as a picture. Raises: as `read_picture`, `from_pillow` and `from_array`."""
    from nicodec.image.arrays import from_array
    from nicodec.image.files import from_pillow, read_picture

    if hasattr(given, "getexif"):
        return from_pillow(cast("Image.Image", given), frame=frame, allow_8bit=allow_8bit)
    if hasattr(given, "__array__"):  # numpy's are buffers too
        return from_array(given)
    return read_picture(bytes_of(given), frame, allow_8bit=allow_8bit, allow_damaged=allow_damaged)


def mask_of(given: AnyPicture) -> Pixels:
    """The samples (H, W) of a mask.

    Raises:
        InputError: it cannot be read, or is no picture.
        UnsupportedPictureError: it is not in grey.
    """
    from nicodec.image.mask import to_mask

    try:
        return to_mask(picture_of(given, allow_8bit=True))
    except (InputError, UnsupportedPictureError) as error:
        raise type(error)(f"the mask for roi: {error}") from None


def bytes_of(given: Any) -> bytes:
    """The bytes of a buffer, of a file object or behind a path.

    Raises:
        InputError: there are none, or no permission to read them.
        UsageError: something else, or a file object that gives no bytes.
    """
    try:
        if hasattr(given, "read"):
            content = given.read()
        elif isinstance(given, (str, os.PathLike)):
            content = Path(given).read_bytes()
        else:
            content = given
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path, a closed file, a text file that is none
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {str(given)!r}: {reason}") from None
    try:
        return bytes(memoryview(content))
    except TypeError:
        what = f"the file object gives {type(content).__name__}" if content is not given else f"got {type(given)!r}"
        raise UsageError(f"{what}, expected bytes, a path or a file opened for reading bytes") from None
