"""What is promised, measured: quality is monotone, payload is what the tables say, integers are cheap, nothing shows.

python tests/lab/checks.py monotone|payload|seams|faults PICTURES...
python tests/lab/checks.py integers|parts RUN PICTURES...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nicodec.bench.codecs import Nicodec
from nicodec.container.layout import STRIDE, TILE, SectionType
from nicodec.container.payloads import read_tiles
from nicodec.container.reader import read_file
from nicodec.entropy.coder import encode_latent, estimate_bits
from nicodec.image.files import read_picture, to_pillow
from nicodec.image.picture import Picture
from nicodec.latents.analysis import analyse, choose_symbols
from nicodec.latents.floats import load_float_path
from nicodec.metrics.psnr import psnr
from nicodec.options import DEFAULT_EFFORT, DEFAULT_MODEL
from nicodec.rate.scale import rate_from_quality
from nicodec.rate.tile import TileRate
from nicodec.zoo.load import load_scales
from nicodec.zoo.store import find_package

QUALITIES = (5, 18, 31, 44, 57, 70, 83, 96)
PERIODS = (8, 16, 7, 15)  # pixels: of blocks that decoders paint alike, and, to compare, of none
CELLS = 8  # periods along a side of the windows in which a pattern is looked for
WAYS = ("nicodec:sq", "nicodec:sq:tau=1", "nicodec", "nicodec:perception", "nicodec:perception:tau=0.7")


def monotone(paths: list[str]) -> None:
    """Bytes at the 101 whole qualities and PSNR at every fifth, picture by picture; says where one does not rise."""
    import nicodec

    failures = 0
    for path in paths:
        picture = read_picture(Path(path).read_bytes())
        sizes, scores = [], []
        for quality in range(101):
            data = nicodec.encode(path, quality=quality, verify=False)
            sizes.append(len(data))
            if quality % 5 == 0:
                scores.append(psnr(picture.pixels, np.asarray(nicodec.decode(data))))
        flat = [q for q in range(100) if sizes[q + 1] <= sizes[q]]
        worse = [5 * q for q in range(20) if scores[q + 1] <= scores[q]]
        failures += len(flat) + len(worse)
        print(
            f"{Path(path).name}: {sizes[0]}..{sizes[-1]} bytes, {scores[0]:.2f}..{scores[-1]:.2f} dB; "
            f"bytes do not rise at {flat or 'no quality'}, PSNR not at {worse or 'no quality'}",
            flush=True,
        )
    print(f"{len(paths)} pictures, {failures} steps that do not rise")


def payload(paths: list[str]) -> None:
    """Coded bytes against the estimate of the tables; bytes of a file that are not coded symbols."""
    import nicodec

    part = find_package(DEFAULT_MODEL).parts["base"]
    scales, base = load_scales(part), load_float_path(part, "auto", "cpu")
    coded = estimated = 0.0
    overheads = set()
    for path in paths:
        picture = read_picture(Path(path).read_bytes())
        for quality in QUALITIES:
            rate = TileRate(rate_from_quality(quality))
            analysed = analyse(picture, base, None, 0)
            held = (choose_symbols(tile, base, scales, rate, DEFAULT_EFFORT) for tile in analysed)
            latents = [tile.latent for tile in held if tile.latent is not None]
            coded += sum(8 * len(encode_latent(scales, latent)) for latent in latents)
            estimated += sum(estimate_bits(scales, latent) for latent in latents)
        data = nicodec.encode(path, streams="sq")
        file = read_file(data)
        tiles = read_tiles(file.sections[SectionType.SQ].payload, file.header, "it")
        overheads.add(len(data) - sum(len(tile[1]) for tile in tiles if tile))
    print(f"coded {coded / 8:.0f} bytes, estimated {estimated / 8:.0f}: {100 * (coded / estimated - 1):+.3f} %")
    print(f"bytes of a file that are not coded symbols: {sorted(overheads)}")


def integers(paths: list[str]) -> None:
    """Bits under the integer scale path and Gaussian tables against the float path and exact Gaussians it came from."""
    from nicodec.entropy.tables import gaussian_tables
    from nicodec.training.export import integer_scales, load_run
    from nicodec.training.tables import latent_of

    codec = load_run(Path(paths[0]))
    model = integer_scales(codec.scales, codec.base.config, (gaussian_tables(),) * codec.base.config.tunes)
    floats = exact = 0.0
    for path in paths[1:]:
        x = _tensor(read_picture(Path(path).read_bytes()))
        for quality in QUALITIES:
            rate = rate_from_quality(quality)
            with torch.no_grad():
                floats += codec(x, torch.tensor([float(rate)])).bits.item()
            exact += estimate_bits(model, latent_of(codec, x, TileRate(rate)))
    print(f"float {floats / 8:.0f} bytes, integer {exact / 8:.0f}: {100 * (exact / floats - 1):+.3f} %")


def parts(paths: list[str]) -> None:
    """Bits and PSNR with one part silenced at a time, against the whole codec, means over pictures and qualities."""
    from nicodec.training.export import load_run
    from nicodec.training.sq import psnr as batch_psnr

    codec = load_run(Path(paths[0]))
    width = codec.base.config.scale_context
    silent: dict[str, list[torch.nn.Module]] = {
        "nothing": [],
        "network of g_s (linear shortcut left)": [codec.base.g_s.head],
        "means": list(codec.base.means.exit),
        "hyperprior in the means": [codec.base.means.grow],
        "hyperprior in the scales": [codec.scales.hyper],
    }
    pictures = [_tensor(read_picture(Path(path).read_bytes())) for path in paths[1:]]
    whole = (0.0, 0.0)
    for name in [*silent, "symbols in the scales"]:
        hooks = [part.register_forward_hook(lambda *args: torch.zeros_like(args[2])) for part in silent.get(name, [])]
        if name not in silent:
            hooks = [step.register_forward_pre_hook(lambda _, args: _blind(args, width)) for step in codec.scales.steps]
        bits = score = 0.0
        for x in pictures:
            for quality in QUALITIES[1::2]:
                with torch.no_grad():
                    outcome = codec(x, torch.tensor([float(rate_from_quality(quality))]))
                bits += outcome.bits.item() / 8
                score += batch_psnr(outcome.x_hat, x) / len(pictures) / len(QUALITIES[1::2])
        for hook in hooks:
            hook.remove()
        whole = (bits, score) if name == "nothing" else whole
        print(f"| {name} | {100 * (bits / whole[0] - 1):+.1f} % | {score - whole[1]:+.2f} dB |", flush=True)


def seams(paths: list[str]) -> None:
    """Error in 32 columns around the seam of pictures enlarged to two tiles, against other lines of a 64-pixel grid."""
    bands: dict[tuple[int, str], dict[bool, list[float]]] = {}
    for path in paths:
        image = to_pillow(read_picture(Path(path).read_bytes())).convert("RGB")
        image = image.resize((2 * TILE, round(2 * TILE * image.height / image.width) // 2))
        for quality in QUALITIES[1::2]:
            for name, decoded in _decoded(image, quality):
                error = ((decoded - np.asarray(image)) ** 2).mean((0, 2))
                for border in range(STRIDE, image.width, STRIDE):
                    band = 10 * np.log10(error[border - 16 : border + 16].mean() / error.mean())
                    bands.setdefault((quality, name), {True: [], False: []})[border == TILE].append(float(band))
    for (quality, name), found in bands.items():
        print(
            f"quality {quality}, {name}: error against the picture's mean {np.mean(found[True]):+.3f} dB at the seam "
            f"(standard error {np.std(found[True]) / len(found[True]) ** 0.5:.3f}), {np.mean(found[False]):+.3f} dB "
            "elsewhere"
        )


def faults(paths: list[str]) -> None:
    """Colour shifts (mean R, G, B of the error) and repeated patterns (see `pattern`), in levels of 255."""
    print("| way, quality | red | green | blue | " + " | ".join(f"every {period} pixels" for period in PERIODS) + " |")
    print("|---" * (4 + len(PERIODS)) + "|")
    found: dict[tuple[str, int], list[list[float]]] = {}
    for path in paths:
        image = to_pillow(read_picture(Path(path).read_bytes())).convert("RGB")
        for quality in QUALITIES[:3]:
            for name, decoded in _decoded(image, quality):
                error = decoded - np.asarray(image)
                row = [*error.mean((0, 1)), *(pattern(error, period) for period in PERIODS)]
                found.setdefault((name, quality), []).append(row)
    for (name, quality), rows in found.items():
        cells = " | ".join(f"{value:+.2f}" for value in np.mean(rows, 0))
        print(f"| {name}, {quality} | {cells} |", flush=True)


def pattern(error: NDArray[np.float64], period: int) -> float:
    """Root mean square of what of an error (H, W, C) repeats every `period` pixels in windows of CELLS periods."""
    side = CELLS * period
    height, width = (length // side * side for length in error.shape[:2])
    cells = error[:height, :width].reshape(height // side, CELLS, period, width // side, CELLS, period, -1)
    repeated = cells.mean((1, 4))
    return float((repeated - repeated.mean((1, 3), keepdims=True)).std())


def _decoded(image: Image.Image, quality: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """An image decoded in all WAYS; those of the same streams decode one file."""
    codecs = [Nicodec.named(name) for name in WAYS]
    files = {streams: codec.encode(image, quality) for streams, codec in {c.streams: c for c in codecs}.items()}
    for codec in codecs:
        yield codec.name, np.asarray(codec.decode(files[codec.streams]), np.float64)


def _blind(args: tuple[torch.Tensor, torch.Tensor], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of a `ScalePass` without what it sees of decoded symbols."""
    seen, rate = args
    return torch.cat([seen[:, :width], torch.zeros_like(seen[:, width:])], 1), rate


def _tensor(picture: Picture) -> torch.Tensor:
    height, width, _ = picture.pixels.shape
    x = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")


if __name__ == "__main__":
    checks = {
        "monotone": monotone, "payload": payload, "seams": seams, "faults": faults, "integers": integers,
        "parts": parts,
    }  # fmt: skip
    checks[sys.argv[1]](sys.argv[2:])
