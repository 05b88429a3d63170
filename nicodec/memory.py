"""What a decode needs, from what its file declares; and an error of ours where the machine does not give it.

Linear in the pixels, and measured with the shipped model (SECURITY.md); of the CPU's memory, not an accelerator's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from nicodec.container.layout import STRIDE, TILE, Box, SectionType
from nicodec.container.limits import coded_pixels
from nicodec.container.reader import NicFile
from nicodec.errors import LimitError, NicodecError, OutOfMemoryError, out_of_memory
from nicodec.options import DecodeOptions

P = ParamSpec("P")
T = TypeVar("T")

START = 215 << 20  # the interpreter, onnxruntime, and all of a model's networks
TORCH = 690 << 20  # what torch takes on top: 440 to 670, by how much of its libraries the system maps at once
MARGIN = 2 * STRIDE  # pixels around a tile, and around a crop, that are worked on too
# Bytes a pixel of the largest tile that the networks hold at once, and a pixel of the crop that stay until the end.
ALONE, MORE = (165, 50), (450, 50)  # the base; experts together, or the fuser
REDUCED = (150, 8)  # the latents alone, at a scale; several tiles are parsed at once
CONDITIONED = 100 << 20  # the dictionary, and networks of the picture's own
REFERRED = 20  # bytes a pixel of what it refers to, which is decoded whole, one after the other, and kept
TAU = 8  # bytes a pixel of the crop for each further tau
DRAWN_START, DRAWN = 100 << 20, 20  # where no network is loaded; and for each pixel, whatever the crop is (JPEG, too)
# What other codecs take on top, their decoder's own process included, and bytes a pixel: they know no tiles.
FOREIGN_START, FOREIGN = 1300 << 20, 700


def estimate_memory(file: NicFile, options: DecodeOptions, crop: Box, referred: int = 0) -> int:
    """Bytes that decoding takes, the program itself included; an upper estimate for all but the widest models.

    With a scale: where it is quick (`nicodec.scaled`), and otherwise that of the full decode is the one to ask for.
    `referred`: pixels of the .nic files that it refers to.
    """
    width, height = file.header.width, file.header.height
    drawn = DRAWN * width * height if SectionType.DRAWN in file.sections or file.holds_jpeg else 0
    if not file.streams or (file.holds_jpeg and not options.restores):
        return DRAWN_START + drawn
    if not file.holds_jpeg and SectionType.FOREIGN in file.sections:
        return START + TORCH + FOREIGN_START + FOREIGN * coded_pixels(width, height)
    width, height = min(width, crop.width + 2 * MARGIN), min(height, crop.height + 2 * MARGIN)
    tile = coded_pixels(min(width, TILE + 2 * MARGIN), min(height, TILE + 2 * MARGIN))
    start = START + (CONDITIONED if SectionType.REFERENCES in file.sections else 0) + REFERRED * referred
    start += TORCH if options.engine == "torch" or options.device == "cuda" else 0
    at_once, kept = MORE if file.holds_jpeg or SectionType.VQ in file.sections or max(options.taus) > 0 else ALONE
    if options.scale > 1:
        at_once, kept = REDUCED
    return start + drawn + tile * at_once + coded_pixels(width, height) * (kept + TAU * (len(options.taus) - 1))


def check_memory(file: NicFile, options: DecodeOptions, crop: Box, referred: int = 0) -> None:
    """Refuse a decode that is estimated to need more than `options.memory_limit`, before any network is loaded.

    `referred` is as in `estimate_memory`.

    Raises:
        LimitError: it is.
    """
    limit = options.memory_limit
    if limit is not None and (needed := estimate_memory(file, options, crop, referred)) > limit:
        raise LimitError(
            f"decoding {crop.width}x{crop.height} of {file.header.width}x{file.header.height} pixels takes about "
            f"{needed >> 20} MiB, more than the limit of {limit / (1 << 20):.3g} MiB; allow more with "
            "--memory-limit, or decode a part with --crop"
        )


def translate_out_of_memory(function: Callable[P, T]) -> Callable[P, T]:
    """Python's, numpy's and torch's errors about memory as one of ours.

    Raises:
        OutOfMemoryError: instead of them.
    """

    @wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except NicodecError:
            raise
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            advice = "for a large picture, decode parts of it with --crop, or use fewer --threads or --jobs"
            raise OutOfMemoryError(f"the machine has not enough free memory; {advice}") from error

    return wrapped
