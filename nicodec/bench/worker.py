"""What runs in a codec's own process. Imports little, so that the memory it reports is the codec's."""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nicodec.bench.codecs import Codec, make
from nicodec.bench.rivals import JpegXL


@cache
def _codec(name: str) -> Codec:
    """The codec of this process, warmed up: loading weights is not what is timed."""
    codec = make(name)
    codec.decode(codec.encode(Image.new("RGB", (128, 128), (90, 120, 60)), codec.settings[0]))
    return codec


def code(name: str, pixels: NDArray[np.uint8], setting: float) -> dict[str, Any]:
    """Encode and decode one picture once: `bytes`, `encode_s`, `decode_s`, `peak_mb` and the pixels `decoded`."""
    codec, image = _codec(name), Image.fromarray(pixels)
    started = time.perf_counter()
    data = codec.encode(image, setting)
    encoded = time.perf_counter()
    decoded = np.asarray(codec.decode(data))
    finished = time.perf_counter()
    return {
        "bytes": len(data),
        "encode_s": encoded - started,
        "decode_s": finished - encoded,
        "peak_mb": None if isinstance(codec, JpegXL) else peak_mb(),  # it works in processes of its own
        "decoded": decoded,
    }


def peak_mb() -> float | None:
    """Peak resident memory of this process, MB of 2^20 bytes; None where the system does not tell (Windows).

    From the kernel's own page on Linux: what getrusage tells survives fork and exec, and so may be the parent's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)
