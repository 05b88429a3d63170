"""A folder of pictures as a series, and as other codecs have it: bytes of all files, and what they show."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from points import QUALITIES, Point, pixels_of

import nicodec
from nicodec.bench.codecs import make, missing
from nicodec.metrics.psnr import psnr
from nicodec.metrics.visible import ssimulacra2

AVIF_SETTINGS, JXL_SETTINGS, CRFS = (5, 12, 20, 35, 50, 65), (20, 40, 60, 75, 85), (55, 47, 39, 31, 23)


def scored(originals: Sequence[Path], decoded: Sequence[Path], size: int) -> Point:
    """Mean PSNR and SSIMULACRA2 of pictures."""
    pairs = [(pixels_of(a), pixels_of(b)) for a, b in zip(originals, decoded, strict=True)]
    seen = [score for a, b in pairs if (score := ssimulacra2(a, b)) is not None]
    return Point(size, statistics.mean(psnr(a, b) for a, b in pairs), statistics.mean(seen))


def in_series(paths: Sequence[Path], folder: Path, quality: int) -> Point:
    """`encode -r --series`, then each file decoded, as anybody would."""
    made, call = folder / f"series-q{quality}", [sys.executable, "-m", "nicodec"]
    shutil.rmtree(made, ignore_errors=True)
    options = ["-o", str(made), "--series", "-q", str(quality), "--streams", "sq", "--quiet"]
    subprocess.run([*call, "encode", "-r", str(paths[0].parent), *options], check=True)
    files = [made / f"{path.stem}.nic" for path in paths]
    decoded = [file.with_suffix(".png") for file in files]
    for file, picture in zip(files, decoded, strict=True):
        nicodec.decode(file).save(picture)
    return scored(paths, decoded, sum(file.stat().st_size for file in files))


def each_alone(codec: Any, paths: Sequence[Path], folder: Path, setting: float) -> Point:
    """Files of a codec of `nicodec.bench.codecs`."""
    size, decoded = 0, []
    for path in paths:
        file = folder / f"{path.stem}-{codec.name}-{setting:g}"
        file.write_bytes(codec.encode(Image.open(path).convert("RGB"), setting))
        size += file.stat().st_size
        decoded.append(file.with_suffix(".png"))
        codec.decode(file.read_bytes()).save(decoded[-1])
    return scored(paths, decoded, size)


def as_video(paths: Sequence[Path], folder: Path, crf: int) -> Point:
    """One AV1 film of all pictures, of one size, by SVT-AV1 in 4:2:0 of 10 bits, at preset 4."""
    import av

    file, decoded = folder / f"all-{crf}.mkv", []
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libsvtav1", rate=25, options={"crf": str(crf), "preset": "4"})
        stream.height, stream.width = pixels_of(paths[0]).shape[:2]
        stream.pix_fmt = "yuv420p10le"
        for path in paths:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_of(path), "rgb24")))
        container.mux(stream.encode())
    with av.open(str(file)) as container:
        for path, frame in zip(paths, container.decode(video=0), strict=True):
            decoded.append(folder / f"{path.stem}-video-{crf}.png")
            frame.to_image().save(decoded[-1])
    return scored(paths, decoded, file.stat().st_size)


Way = Callable[[Sequence[Path], Path, int], Point]


def ways_of() -> tuple[dict[str, tuple[Way, Sequence[int]]], list[str]]:
    """Ours, and what is installed to compare with, with their settings; and a line for what is not."""
    ways: dict[str, tuple[Way, Sequence[int]]] = {"nicodec --series": (in_series, QUALITIES)}
    lacking = []
    for name, settings in (("avif", AVIF_SETTINGS), ("jxl", JXL_SETTINGS)):
        if (why := missing(name)) is None:
            ways[name] = partial(each_alone, make(name)), settings
        else:
            lacking.append(f"{name}: {why}")
    try:
        import av

        if "libsvtav1" not in av.codecs_available:
            raise ImportError("PyAV has no libsvtav1")
        ways["av1 video"] = as_video, CRFS
    except ImportError as error:
        lacking.append(f"av1 video: {error}")
    return ways, lacking
