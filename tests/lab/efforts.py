"""What effort buys, and how long others take.

python tests/lab/efforts.py PICTURES...          seconds of encoding against BD-rate, effort by effort
python tests/lab/efforts.py --others PICTURE     CompressAI models with random weights, in this process
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nicodec.bench.curves import Curve, bd_rate
from nicodec.image.files import read_picture
from nicodec.metrics.psnr import psnr
from nicodec.options import EFFORT_RANGE

QUALITIES = (18, 38, 58, 78)
OTHERS = ("mbt2018-mean", "cheng2020-anchor")


def efforts(paths: list[Path]) -> None:
    """A table: mean seconds of `nicodec.encode` a picture, and BD-rate (PSNR) against effort 1."""
    import nicodec

    pixels = [read_picture(path.read_bytes()).pixels for path in paths]
    nicodec.encode(paths[0])  # loads the weights
    first: Curve | None = None
    print("| effort | seconds | BD-rate against effort 1 |\n|---|---|---|")
    for effort in range(EFFORT_RANGE[0], EFFORT_RANGE[1] + 1):
        bpp, score, seconds = [], [], []
        for quality in QUALITIES:
            sizes, scores = [], []
            for path, original in zip(paths, pixels, strict=True):
                started = time.perf_counter()
                data = nicodec.encode(path, quality=quality, effort=effort)
                seconds.append(time.perf_counter() - started)
                sizes.append(8 * len(data) / original[:, :, 0].size)
                scores.append(psnr(original, np.asarray(nicodec.decode(data).convert("RGB"))))
            bpp.append(statistics.mean(sizes))
            score.append(statistics.mean(scores))
        curve = Curve(bpp, score)
        first = first or curve
        print(f"| {effort} | {statistics.mean(seconds):.2f} | {bd_rate('psnr', first, curve):+.2f} % |", flush=True)


def others(path: Path) -> None:
    """A table: median seconds of compress and decompress of one picture, next to ours at default effort."""
    import nicodec

    with warnings.catch_warnings(action="ignore"):
        from compressai.zoo import image_models

    data = nicodec.encode(path)
    rows: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "nicodec": (lambda: nicodec.encode(path), lambda: nicodec.decode(data))
    }
    pixels = read_picture(path.read_bytes()).pixels
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    x = torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64), mode="replicate")
    for name in OTHERS:
        torch.manual_seed(0)
        model = image_models[name](quality=3, metric="mse", pretrained=False).eval()
        model.update()
        with torch.inference_mode():
            out = model.compress(x)
        rows[name] = (lambda m=model: m.compress(x), lambda m=model, o=out: m.decompress(o["strings"], o["shape"]))  # type: ignore[misc]
    print("| codec | encode s | decode s |\n|---|---|---|")
    for name, calls in rows.items():
        print(f"| {name} | {_median(calls[0]):.2f} | {_median(calls[1]):.2f} |", flush=True)


def _median(call: Callable[[], Any], repeats: int = 5) -> float:
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    if sys.argv[1] == "--others":
        others(Path(sys.argv[2]))
    else:
        efforts([Path(path) for path in sys.argv[1:]])
