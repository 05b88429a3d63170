"""nicodec: a learned image codec with real bitstreams.

>>> import nicodec
>>> data = nicodec.encode("photo.png", quality=60)  # doctest: +SKIP
>>> image = nicodec.decode(data)  # doctest: +SKIP

Importing this loads neither torch nor numpy; the first call does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nicodec.errors import NicodecError
from nicodec.options import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    DEFAULT_QUALITY,
    DEFAULT_REFERENCES,
    DEFAULT_STEPS,
    DEFAULT_TUNE,
    DRAWN,
)

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Buffer

    from nicodec.image.given import AnyFile, AnyPicture

__version__ = "0.1.0"
__all__ = ["NicodecError", "__version__", "decode", "encode", "read_info", "register_pillow_plugin"]


def encode(
    image: AnyPicture,
    *,
    quality: float = DEFAULT_QUALITY,
    effort: int = DEFAULT_EFFORT,
    tune: str = DEFAULT_TUNE,
    streams: str | None = None,
    token_bits: int | None = None,
    robust: bool = False,
    references: str | int | Sequence[AnyFile] = DEFAULT_REFERENCES,
    dictionaries: Sequence[str | os.PathLike[str]] = (),
    drawn: str = DRAWN[0],
    roi: AnyPicture | None = None,
    recommend: bool = False,
    model: str = DEFAULT_MODEL,
    base: str | None = None,
    base_weights: str | os.PathLike[str] | None = None,
    verify: bool = True,
    device: str = "auto",
    engine: str = "auto",
    frame: int | None = None,
    allow_8bit: bool = False,
    allow_damaged: bool = False,
) -> bytes:
    """Encode a picture.

    Args:
        image: a Pillow image; the bytes of a picture file (any buffer), its path, or a file object; a numpy array
            (H, W) or (H, W, 1..4) or a torch tensor (1..4, H, W), uint8 or floats 0..1. RGB, grey, with or without
            alpha.
        quality: 0 (smallest) .. 100 (closest, not lossless), continuous.
        effort: 1 (quick) .. 9 (slow, smallest files).
        tune: `eye` or `psnr`: what bits are spent for. A model with one tune is coded in that.
        streams: `sq`, `vq` or `sq+vq`; None: all that the model has parts for, of those that the file can hold.
        token_bits: bits a token; None: as many as the codebook has.
        robust: code tokens so that they survive damage to the SQ stream.
        references: pictures (.nic or others; bytes, paths or file objects) that the file may refer to, which its
            decoder then needs; or how many entries of the model's dictionary: a number, `off`, or `auto`: some, where
            they pay.
        dictionaries: paths of .nicdict files, in which such pictures are searched too.
        drawn: which blocks are kept exactly, as drawings and text are cheaper: `auto`, `off`, or `all` of them.
        roi: a mask, anything that `image` may be, in grey, which is stretched over it: white parts get more quality.
        recommend: write into the file which tau has as much texture as the original, for `decode(tau="auto")`.
        model: name of the model package.
        base: another codec in its place: such as `compressai:mbt2018-mean-q3`, with `base_weights`; or `jpeg`, which
            keeps a JPEG file (bytes, path or file object) as it is.
        base_weights: a safetensors file, see `nicodec models fetch`.
        verify: decode the symbols again and compare; of what is no photograph, leave out tokens that nobody asked for
            where they make a part of the picture worse.
        device: `auto`, `cpu` or `cuda`.
        engine: what runs the networks: `onnx` (on the CPU), `torch`, or `auto`: torch on a GPU and for models without
            graphs.
        frame: which picture of several, from 0; None: the first of a file, and the one that a Pillow image is at.
        allow_8bit: reduce a file's or a Pillow image's deeper samples to 8 bits.
        allow_damaged: take what can be read of a truncated or damaged file, instead of refusing it.

    Returns:
        A .nic file.

    Raises:
        NicodecError: one of its classes, see `nicodec.errors`.
    """
    from nicodec.codec import encode_picture
    from nicodec.image.given import mask_of, picture_of
    from nicodec.options import EncodeOptions, check_number
    from nicodec.references.library import references_of

    if frame is not None:
        check_number("frame", frame, 0, whole=True)
    weights = None if base_weights is None else Path(base_weights)
    mask = None if roi is None else mask_of(roi)
    options = EncodeOptions(
        quality, effort, tune, streams, token_bits, robust, references_of(references), model, base, weights, verify,
        device, drawn, mask, engine, tuple(map(Path, dictionaries)), recommend,
    )  # fmt: skip
    return encode_picture(picture_of(image, frame, allow_8bit=allow_8bit, allow_damaged=allow_damaged), options)


def decode(
    data: IO[bytes] | Buffer | str | os.PathLike[str],
    *,
    anchor: str = "fidelity",
    tau: float | str | None = None,
    steps: int = DEFAULT_STEPS,
    seed: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    scale: int = 1,
    max_pixels: int | None = None,
    memory_limit: int | None = None,
    base_weights: str | os.PathLike[str] | None = None,
    references: Sequence[AnyFile] = (),
    dictionaries: Sequence[str | os.PathLike[str]] = (),
    device: str = "auto",
    engine: str = "auto",
) -> Image.Image:
    """Decode a .nic file, given as bytes (any buffer), path or file object.

    Args:
        data: the file.
        anchor: `fidelity` or `perception`: the expert that the picture starts from.
        tau: 0 (closest to the original) .. 1 (most natural), or `auto`: what the file recommends, if it does. None: 0;
            of a file that keeps a JPEG its own picture, which any tau restores; and of the perception anchor, which
            paints where tau leads, as `auto`, or 0.7 (of files of version 1 at 0: there it has a picture of its own).
        steps: of the diffusion behind tau, 1..8.
        seed: of its noise; None: from the file.
        crop: only this part of the picture: (left, top, width, height) in pixels.
        scale: 2, 4, 8 or 16: a picture that is so many times smaller each way, each pixel the average of a square. Of
            the fidelity anchor it comes out of the latents alone, and quickly; all else is decoded in full first.
        max_pixels: most pixels that the file may declare; None: 2^27, and no more than files of its size have.
        memory_limit: bytes; refuse a file whose decode is estimated to need more.
        base_weights: of the other codec that the file was written with; None: an installed model's.
        references: pictures that the file may refer to, as for `encode`. Where `data` is a path, they are looked for
            beside it as well.
        dictionaries: paths of .nicdict files, besides those that NICODEC_DICTIONARIES names.
        device: `auto`, `cpu` or `cuda`.
        engine: as for `encode`.

    Returns:
        A Pillow image of mode L, LA, RGB or RGBA; ICC profile, EXIF and XMP stand in its `info`.

    Raises:
        NicodecError: one of its classes, see `nicodec.errors`.
    """
    from nicodec.codec import decode_bytes
    from nicodec.image.files import to_pillow
    from nicodec.image.given import bytes_of
    from nicodec.options import DecodeOptions, taus_of
    from nicodec.references.library import Held

    weights = None if base_weights is None else Path(base_weights)
    taus: Any = None if tau is None else () if tau == "auto" else (tau,)
    options = DecodeOptions(
        anchor,
        steps=steps,
        seed=seed,
        crop=crop,
        max_pixels=max_pixels,
        memory_limit=memory_limit,
        base_weights=weights,
        device=device,
        engine=engine,
        scale=scale,
        references=tuple(map(Held.given, references)),
        beside=Path(data).parent if isinstance(data, (str, os.PathLike)) else None,
        dictionaries=tuple(map(Path, dictionaries)),
        **taus_of(taus, anchor),
    )
    return to_pillow(decode_bytes(bytes_of(data), options))


def read_info(data: IO[bytes] | Buffer | str | os.PathLike[str]) -> dict[str, Any]:
    """What a .nic file (any buffer, path or file object) says of itself; all CRCs are checked, no network is loaded.

    Returns:
        See `nicodec.container.info.describe` for the keys.

    Raises:
        NicodecError: one of its classes, see `nicodec.errors`.
    """
    from nicodec.container.info import describe
    from nicodec.container.reader import read_file
    from nicodec.image.given import bytes_of

    return describe(read_file(bytes_of(data)))


def register_pillow_plugin() -> None:
    """Make `PIL.Image.open` and `save` know .nic files (see `nicodec.pillow`)."""
    from nicodec.pillow import register

    register()
