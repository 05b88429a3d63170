"""The plane of tau: what each anchor, tau and number of steps makes of the same files.

python tests/lab/taus.py MODEL ALEXNET_TRUNK PLOT.png PICTURES...
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nicodec.codec import decode_taus
from nicodec.image.files import read_picture
from nicodec.metrics.perceptual import Features, Perception, kernel_distance
from nicodec.metrics.psnr import psnr
from nicodec.options import DEFAULT_STEPS, DecodeOptions
from nicodec.zoo.load import is_foreign
from nicodec.zoo.store import find_package

QUALITIES = (5, 23, 41)  # 0.06, 0.15 and 0.32 bpp of latents on Kodak
TAUS = tuple(tenth / 10 for tenth in range(11))
STREAMS = {"fidelity": "sq", "perception": "sq+vq"}
WAYS = (("fidelity", 1), ("fidelity", 2), ("fidelity", 4), ("fidelity", 8), ("perception", DEFAULT_STEPS))


@dataclass
class Line:
    """One anchor and number of steps at one quality: a mean over pictures for each of TAUS."""

    anchor: str
    steps: int
    quality: float
    bpp: float
    psnr: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    kid: list[float] = field(default_factory=list)

    @property
    def monotone(self) -> bool:
        """Whether PSNR falls and LPIPS falls with every step of tau, but for a thousandth."""
        return bool(np.all(np.diff(self.psnr) <= 1e-3) and np.all(np.diff(self.lpips) <= 1e-3))


def measure(model: str, trunk: Path, paths: list[Path]) -> list[Line]:
    """Encode pictures at QUALITIES and decode each file in all WAYS at all TAUS.

    The fidelity anchor decodes files without tokens: it is the plain base, and tau all that is added. Another codec's
    base has one quality and no perception anchor.
    """
    import nicodec

    foreign = is_foreign(find_package(model).parts["base"])
    ways = [way for way in WAYS if way[0] == "fidelity" or not foreign]

    perception = Perception(trunk)
    originals = [read_picture(path.read_bytes()).pixels for path in paths]
    expected = np.concatenate([perception.features(pixels) for pixels in originals])
    lines = []
    for quality in QUALITIES[:1] if foreign else QUALITIES:
        files = {
            anchor: [
                nicodec.encode(
                    path, quality=quality, model=model, streams=None if foreign else STREAMS[anchor], references="off"
                )
                for path in paths
            ]
            for anchor in dict(ways)
        }
        for anchor, steps in ways:
            sizes = [
                8 * len(data) / original[..., 0].size for data, original in zip(files[anchor], originals, strict=True)
            ]
            line = Line(anchor, steps, quality, statistics.mean(sizes))
            options = DecodeOptions(anchor=anchor, taus=TAUS, steps=steps)
            scores: list[list[tuple[float, float]]] = [[] for _ in TAUS]
            features: list[list[Features]] = [[] for _ in TAUS]
            for data, original in zip(files[anchor], originals, strict=True):
                for index, picture in enumerate(decode_taus(data, options)):
                    decoded = picture.pixels
                    scores[index].append((psnr(original, decoded), perception.distance(original, decoded)))
                    features[index].append(perception.features(decoded))
            for rows, found in zip(scores, features, strict=True):
                score, lpips = (statistics.mean(column) for column in zip(*rows, strict=True))
                line.psnr.append(score)
                line.lpips.append(lpips)
                line.kid.append(kernel_distance(expected, np.concatenate(found)))
            lines.append(line)
    return lines


def table(lines: list[Line]) -> str:
    """Markdown: PSNR, LPIPS and 1000 KID at each tau."""
    rows = ["| anchor, steps, bpp | " + " | ".join(f"tau {tau:g}" for tau in TAUS) + " | monotone |"]
    rows.append("|---" * (len(TAUS) + 2) + "|")
    for line in lines:
        cells = (f"{a:.2f}, {b:.3f}, {1000 * c:.0f}" for a, b, c in zip(line.psnr, line.lpips, line.kid, strict=True))
        name = f"{line.anchor}, {line.steps}, {line.bpp:.3f}"
        rows.append(f"| {name} | {' | '.join(cells)} | {'yes' if line.monotone else 'no'} |")
    return "\n".join(rows)


def draw(lines: list[Line], path: Path) -> None:
    """PSNR against LPIPS, a line for each way and quality, a dot for each tau."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.6))
    for index, (anchor, steps) in enumerate(WAYS):
        for line in (line for line in lines if (line.anchor, line.steps) == (anchor, steps)):
            label = f"{anchor}, {steps} steps" if line.quality == lines[0].quality else None
            axes.plot(line.psnr, line.lpips, marker="o", markersize=3, color=f"C{index}", label=label)
            axes.annotate(f"{line.bpp:.2f} bpp", (line.psnr[0], line.lpips[0]), fontsize=6)
    axes.set(xlabel="PSNR RGB, dB", ylabel="LPIPS (AlexNet), lower is better")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    found = measure(sys.argv[1], Path(sys.argv[2]), [Path(path) for path in sys.argv[4:]])
    print("PSNR, LPIPS, 1000 KID\n")
    print(table(found))
    draw(found, Path(sys.argv[3]))
