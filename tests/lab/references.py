"""What references are worth: those that search finds, others, spoilt ones, and those of small dictionaries.

python tests/lab/references.py MODEL PLOT.png PICTURES...
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nicodec.bases import header_of
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.bases.own_encoder import OwnEncoder
from nicodec.bench.curves import Curve, bd_psnr, bd_rate
from nicodec.codec import decode_bytes, encode_picture
from nicodec.container.layout import ID_BYTES, Box, References, Section, SectionType
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_references, write_section
from nicodec.dictionary.asset import CHANNELS, SIDE
from nicodec.dictionary.conditioning import AUTO_COUNT, Referred
from nicodec.dictionary.features import features_of
from nicodec.image.files import read_picture
from nicodec.image.picture import Picture
from nicodec.latents.geometry import Array
from nicodec.metrics.psnr import psnr
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.rate.scale import rate_from_quality
from nicodec.rate.tile import TileRate
from nicodec.zoo.model import Model

QUALITIES = (3, 10, 17, 24)  # 0.06 to 0.17 bpp on Kodak
SIZES = (1, 4, 16, 64, 256)  # of dictionaries, besides the whole one
NOISES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of references, in root mean squares of theirs
Find = Callable[[Picture, int], Array | None]


class Trial:
    """A model's base and references, and files with any references.

    Raises:
        MissingPartError: the model has no dictionary with adapters.
    """

    def __init__(self, model: str) -> None:
        options = EncodeOptions(model=model, streams="sq", references=AUTO_COUNT, device="cpu")
        self.encoder = OwnEncoder(Model.named(model, device="cpu"), options)
        self.dictionary, self.conditioning = self.encoder.model.dictionary, self.encoder.model.conditioning

    def found(self, size: int | None = None) -> Find:
        """References by search, in all of the dictionary or in `size` entries of it, drawn anew for each picture."""

        def find(picture: Picture, index: int) -> Array:
            matches = self.dictionary.search(features_of(picture.pixels, self.encoder.model.base), len(self.dictionary))
            kept = set(np.random.default_rng(index).permutation(len(self.dictionary))[:size].tolist())
            return self.dictionary.levels([match.id for match in matches if match.id in kept][:AUTO_COUNT])

        return find

    def random(self, picture: Picture, index: int) -> Array:
        """Any references."""
        ids = np.random.default_rng(index).choice(len(self.dictionary), AUTO_COUNT, replace=False)
        return self.dictionary.levels(ids.tolist())

    def noisy(self, sigma: float) -> Find:
        """The best references, spoilt."""

        def find(picture: Picture, index: int) -> Array:
            levels = self.found()(picture, index)
            assert levels is not None
            noise = np.random.default_rng(index).standard_normal(levels.shape, np.float32)
            return levels + np.float32(sigma) * np.sqrt(np.square(levels).mean()) * noise

        return find

    def curve(self, pictures: list[Picture], find: Find) -> Curve:
        """Means over pictures of (bpp, PSNR) at QUALITIES: of files with these references, their section counted."""
        chosen, rows = [find(picture, index) for index, picture in enumerate(pictures)], []
        for quality in QUALITIES:
            points = [self.point(picture, quality, levels) for picture, levels in zip(pictures, chosen, strict=True)]
            rows.append([statistics.mean(column) for column in zip(*points, strict=True)])
        return Curve(*map(list, zip(*rows, strict=True)))

    def point(self, picture: Picture, quality: float, levels: Array | None) -> tuple[float, float]:
        """Bits a pixel and PSNR of a file with references, or without."""
        rate, encoder = rate_from_quality(quality), self.encoder
        referred, extra = Referred(encoder.model.base), 0
        if levels is not None:
            referred = Referred(self.conditioning.base(referred.base, self.conditioning.latent(levels)))
            extra = self._section_bytes(len(levels))
        of_blocks, tiles = TileRate(rate), encoder.analyse(picture).tiles
        header = header_of(picture, of_blocks, encoder.model.ids["base"], version=1)
        data = write_file(header, encoder.sections(encoder.symbols(tiles, referred, of_blocks)))
        held, whole = OwnDecoder(read_file(data)).symbols(), Box(0, 0, picture.width, picture.height)
        (decoded,) = Synthesis(header, Experts(referred.base)).paint(held, whole)
        return 8 * (len(data) + extra) / (picture.width * picture.height), psnr(picture.pixels, decoded)

    def _section_bytes(self, count: int) -> int:
        """Of so many references; whichever they are takes as much."""
        references = References(bytes(ID_BYTES), self.dictionary.id_bits, tuple(range(count)))
        return len(write_section(Section(SectionType.REFERENCES, write_references(references)), last=False))


def automatic(pictures: list[Picture], model: str) -> tuple[Curve, str]:
    """What `encode` does by itself: means of (bpp, PSNR), and how often it refers, for what share of the file."""
    rows, shares = [], []
    for quality in QUALITIES:
        points = []
        for picture in pictures:
            data = encode_picture(picture, EncodeOptions(quality, model=model, streams="sq", device="cpu"))
            decoded = decode_bytes(data, DecodeOptions(device="cpu")).pixels
            points.append((8 * len(data) / (picture.width * picture.height), psnr(picture.pixels, decoded)))
            if section := read_file(data).sections.get(SectionType.REFERENCES):
                shares.append(len(write_section(section, last=False)) / len(data))
        rows.append([statistics.mean(column) for column in zip(*points, strict=True)])
    share = f"; their section is {statistics.mean(shares):.2%} of the file" if shares else ""
    return Curve(*map(list, zip(*rows, strict=True))), (
        f"auto refers in {len(shares)} of {len(pictures) * len(QUALITIES)} files{share}"
    )


def draw(k: dict[int, float], noise: dict[float, float], path: Path) -> None:
    """Gain against the size of the dictionary, and against noise in the references."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    left.plot(list(k), list(k.values()), marker="o")
    left.set(xscale="log", xlabel="references in the dictionary", ylabel="BD-PSNR, dB")
    right.plot(list(noise), list(noise.values()), marker="o")
    right.set(xlabel="noise in the references, in their root mean square")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def measure(trial: Trial, pictures: list[Picture]) -> tuple[Curve, dict[str, Curve]]:
    """Without references, and with those of every way to come by some."""
    zeros = np.zeros((AUTO_COUNT, CHANNELS, SIDE, SIDE), np.float32)
    ways: dict[str, Find] = {
        "by search": trial.found(), "random": trial.random, "zeros": lambda picture, index: zeros,
        **{f"by search in {size}": trial.found(size) for size in SIZES},
        **{f"noise of {sigma:g}": trial.noisy(sigma) for sigma in NOISES},
    }  # fmt: skip
    off = trial.curve(pictures, lambda picture, index: None)
    return off, {name: trial.curve(pictures, find) for name, find in ways.items()}


def table(off: Curve, curves: Mapping[str, Curve]) -> str:
    """Markdown: the points, and differences to files without references."""
    rows = ["| references | bpp, PSNR | BD-rate | BD-PSNR |", "|---|---|---|---|"]
    for name, curve in {"off": off, **curves}.items():
        points = "; ".join(f"{bpp:.3f}, {value:.2f}" for bpp, value in zip(curve.bpp, curve.value, strict=True))
        rate, gain = bd_rate("psnr", off, curve) or 0.0, bd_psnr(off, curve) or 0.0
        rows.append(f"| {name} | {points} | {rate:+.1f} % | {gain:+.3f} dB |")
    return "\n".join(rows)


def main(model: str, plot: Path, paths: list[Path]) -> None:
    """Print all figures, draw two of them."""
    trial = Trial(model)
    pictures = [read_picture(path.read_bytes()).stripped(("all",)) for path in paths]
    off, curves = measure(trial, pictures)
    auto, said = automatic(pictures, model)
    print(table(off, {"auto": auto, **curves}))
    print(said)
    gain = {name: bd_psnr(off, curve) or 0.0 for name, curve in curves.items()}
    k = {size: gain[f"by search in {size}"] for size in SIZES} | {len(trial.dictionary): gain["by search"]}
    noise = {0.0: gain["by search"]} | {sigma: gain[f"noise of {sigma:g}"] for sigma in NOISES}
    draw(k, noise, plot)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
