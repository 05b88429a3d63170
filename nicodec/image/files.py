"""Picture files to `Picture` and back, through Pillow; the only file that opens or saves with it."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from nicodec.container.layout import MAGIC as NIC
from nicodec.container.limits import MAX_METADATA
from nicodec.errors import CorruptFileError, InputError, NicodecError, OutputError, UnsupportedPictureError
from nicodec.image.colour import to_samples
from nicodec.image.declared import declared_profile
from nicodec.image.depth import bits_of, to_8_bits
from nicodec.image.fitting import fit, match_profile, without_misfit
from nicodec.image.jpeg import FORMATS as JPEG_FORMATS
from nicodec.image.jpeg import jpeg_of
from nicodec.image.metadata import read_dpi, read_metadata, save_parameters
from nicodec.image.pam import MAGIC, read_pam, write_pam
from nicodec.image.picture import Picture, Pixels
from nicodec.image.png import check_crcs, without_damaged

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".bmp": "BMP", ".ppm": "PPM", ".pgm": "PPM", ".pam": "PAM",
}  # fmt: skip
TOLERANTLY_READ = {"PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM"}  # by Pillow, if they are truncated
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# JPEG and AVIF are lossy: as close as they come.
SAVING: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"}, "PNG": {"compress_level": 4},  # half of the time, 2 % of the bytes
}  # fmt: skip
PILLOW = threading.Lock()


def read_picture(
    data: bytes, frame: int | None = None, *, allow_8bit: bool = False, allow_damaged: bool = False
) -> Picture:
    """Open a picture file held in memory.

    Args:
        frame: which picture of a file with several, from 0; None: the first, with a note.
        allow_8bit: reduce deeper samples to 8 bits, with a note.
        allow_damaged: take what can be read of a truncated or damaged file, with a note.

    Raises:
        InputError: empty, not a picture, truncated or damaged, or without that frame.
        UnsupportedPictureError: more than 8 bits a sample, or colours that would be changed.
    """
    if not data:
        raise InputError("the input is empty; expected a picture file")
    try:
        check_crcs(data)
        return _open(data, frame, allow_8bit, tolerant=False)
    except InputError as error:
        if not allow_damaged:
            raise
        data, left_out = without_damaged(data)
        picture = _open(data, frame, allow_8bit, tolerant=True)
        what = f"it was read without {', '.join(left_out)}" if left_out else "what could be read was taken"
        return replace(picture, notes=(f"{str(error).partition(';')[0]}; {what}", *picture.notes), jpeg=None)


def read_jpeg_head(data: bytes, width: int, height: int) -> Picture:
    """The metadata of a JPEG file that a .nic file keeps, over pixels that are blank: nothing is decoded.

    Raises:
        CorruptFileError: it is no JPEG, or has other sides than those, turned or not.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=JPEG_FORMATS) as image:
            found, mode, metadata = image.size, image.mode, read_metadata(image)
    except MemoryError:
        raise
    except Exception as error:  # as in `_open`
        raise CorruptFileError(f"what the file keeps is no JPEG: {error}") from None
    if sorted(found) != sorted((width, height)):
        raise CorruptFileError(f"the file's JPEG has {found[0]}x{found[1]} pixels, expected {width}x{height}")
    blank = np.broadcast_to(np.uint8(0), (height, width, 1 if mode == "L" else 3))
    icc = None if mode == "CMYK" else metadata.icc
    return without_misfit(Picture(blank, None, icc, metadata.exif, metadata.xmp))[0]


def read_jpeg(data: bytes, width: int, height: int, *, allow_damaged: bool = False) -> Picture:
    """Open a JPEG file that a .nic file keeps, whose upright picture has these sides.

    Raises:
        CorruptFileError: as `read_jpeg_head`; or it is truncated or damaged.
    """
    read_jpeg_head(data, width, height)
    try:
        return read_picture(data, 0, allow_damaged=allow_damaged)
    except (InputError, UnsupportedPictureError) as error:
        raise CorruptFileError(f"the file's JPEG is damaged: {str(error).partition(';')[0]}") from None


def _open(data: bytes, frame: int | None, allow_8bit: bool, *, tolerant: bool) -> Picture:
    kind = None
    try:
        # Pillow's warnings about odd metadata are no news to a user who gets a picture or an error.
        with _pillow_set(tolerant), warnings.catch_warnings(action="ignore"):  # one thread at a time
            if data.startswith(NIC):
                raise InputError("the input is a .nic file, expected a picture; decode makes one of it")
            if data.startswith(MAGIC):
                image, bits = read_pam(data)
                return _take_over(image, b"", frame, allow_8bit, bits)
            with Image.open(io.BytesIO(data)) as image:
                kind = image.format
                return _take_over(image, data, frame, allow_8bit)
    except UnidentifiedImageError:
        raise InputError(
            f"the input is not a picture that Pillow knows, or its head is damaged: it starts with {data[:8].hex(' ')}"
        ) from None
    except Image.DecompressionBombError as error:
        raise UnsupportedPictureError(str(error)) from None
    except (NicodecError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files, TypeError for one
        if kind in TOLERANTLY_READ and not tolerant:
            raise InputError(
                f"the picture cannot be read in full: {error}; encode --allow-damaged takes what can be read"
            ) from None
        raise InputError(f"the picture cannot be read: {error}") from None


@contextmanager
def _pillow_set(tolerant: bool) -> Iterator[None]:
    """Pillow's two settings that are the process's: one reader at a time, so that none gets another's tolerance."""
    with PILLOW:
        before = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK
        ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK = tolerant, MAX_METADATA
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK = before


def from_pillow(image: Image.Image, *, frame: int | None = None, allow_8bit: bool = False) -> Picture:
    """Take over a Pillow image: pixels, alpha and metadata, with its EXIF orientation applied once.

    Args:
        frame: of several; None: the one that it is at. It stays there.
        allow_8bit: see `read_picture`.

    Raises:
        InputError: no such frame, or an image of a damaged file.
        UnsupportedPictureError: more than 8 bits a sample, or colours that would be changed.
    """
    try:
        image.load()
        at = image.tell()
        picture = _take_over(image, b"", frame, allow_8bit)
        if image.tell() != at:
            image.seek(at)
        return picture
    except (NicodecError, MemoryError):
        raise
    except Exception as error:  # as in `_open`
        raise InputError(f"the picture cannot be read: {error}") from None


def _take_over(
    image: Image.Image, data: bytes, frame: int | None, allow_8bit: bool, bits: int | None = None
) -> Picture:
    """See `from_pillow`; what Pillow does not tell of a file is read in `data`. `bits`: of a sample, where known."""
    notes: list[str] = []
    frames, at = getattr(image, "n_frames", 1), image.tell()
    if frames > 1 and frame is None:
        which = f"number {at}, counted from 0," if at else "the first"
        notes.append(f"the input holds {frames} pictures; only {which} is taken (encode --frame N takes another)")
    if frame is not None and not 0 <= frame < frames:
        raise InputError(f"frame is {frame}, but the input holds {frames}, counted from 0")
    if frame not in (None, at):
        image.seek(frame)
    bits = bits_of(data, image) if bits is None else bits
    if bits > 8 and (bits > 16 or not allow_8bit):
        advice = "convert it first" if bits > 16 else "encode --allow-8bit reduces them to 8"
        raise UnsupportedPictureError(f"the picture has {bits} bits a sample ({image.format}, {image.mode}); {advice}")
    if bits > 8 and "transparency" in image.info:
        raise UnsupportedPictureError(f"the picture has a transparent colour of {bits} bits; convert it to RGBA first")
    image.load()  # some metadata stand behind the pixels
    metadata = read_metadata(image)
    turn = TURNS.get(metadata.orientation)
    upright = image if turn is None else image.transpose(turn)
    if bits > 8:
        notes.append(f"{bits} bits a sample were reduced to 8")
        upright = to_8_bits(upright, bits)
    pixels, alpha, conversions = to_samples(upright)
    declared, ignored = declared_profile(image, data, grey=pixels.shape[2] == 1)
    icc = None if image.mode == "CMYK" else metadata.icc or declared
    picture, misfit = without_misfit(Picture(pixels, alpha, icc, metadata.exif, metadata.xmp))
    notes = [*notes, *conversions, *ignored, *metadata.notes, *misfit]
    jpeg = jpeg_of(image, data, metadata.orientation) if data and not frame else None
    return replace(picture, notes=tuple(notes), jpeg=jpeg)


def to_pillow(picture: Picture) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA with ICC, EXIF and XMP in its `info`; see also `match_profile`."""
    picture, _ = match_profile(picture)
    samples = _samples(picture)
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    blocks = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    image.info.update({name: block for name, block in blocks.items() if block})
    return image


def _samples(picture: Picture) -> Pixels:
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha[:, :, None]]
    return np.concatenate(planes, 2)


def check_suffix(suffix: str) -> str:
    """The format that a suffix like `.png` means.

    Raises:
        OutputError: none that we write.
    """
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise OutputError(f"cannot write a picture as {suffix or 'a file without suffix'}; known: {' '.join(FORMATS)}")
    return kind


def write_picture(picture: Picture, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """A picture file in memory, in the format that a suffix like `.png` means. A JPEG that it was is given back.

    Returns:
        The file, and a sentence for each thing that a user must be told: the picture's notes, and what this format
        cannot hold.

    Raises:
        OutputError: unknown suffix, or a format that cannot hold the picture's size, alpha or colour.
    """
    kind = check_suffix(suffix)
    if kind == "JPEG" and picture.jpeg is not None:
        return picture.jpeg.data, ()
    if suffix.lower() == ".pgm" and not picture.grey:
        raise OutputError("PGM holds grey only; write .ppm instead")
    with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd EXIF
        fitted, dropped = fit(picture, kind)
        notes = (*picture.notes, *dropped)
        if kind == "PAM":
            return write_pam(_samples(fitted)), notes
        parameters = save_parameters(fitted, kind, read_dpi(picture.exif))
        image = to_pillow(fitted)
        image.info.clear()
        buffer = io.BytesIO()
        try:
            image.save(buffer, kind, **SAVING.get(kind, {}), **parameters)
        except MemoryError:
            raise
        except Exception as error:  # the encoders behind Pillow have limits that they do not tell before
            raise OutputError(
                f"the picture cannot be written as {kind}: {error}; write PNG instead, or leave out metadata (--strip)"
            ) from None
    return buffer.getvalue(), notes
