"""What each expert, and each part of MoDE, is worth in the installed model.

python tests/lab/experts.py MODEL ALEXNET_TRUNK PICTURES...
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nicodec.bases.own_decoder import OwnDecoder
from nicodec.bench.curves import Curve, bd_rate
from nicodec.container.layout import Anchor, Box, SectionType
from nicodec.container.reader import read_file
from nicodec.engines import Networks
from nicodec.entropy.symbols import TileSymbols
from nicodec.image.files import read_picture
from nicodec.metrics.perceptual import Features, Perception, kernel_distance
from nicodec.metrics.psnr import psnr
from nicodec.painters import Rendering
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import Synthesis
from nicodec.zoo.store import find_package
from nicodec.zoo.stored import read_weights

QUALITIES = (3, 10, 17, 24, 31, 38, 45)  # 0.05 to 0.4 bpp on Kodak
Weights = Mapping[str, NDArray[np.float32]]
Symbols = Mapping[Box, TileSymbols]


@dataclass
class Way:
    """A way to decode a file, and what came of it: lists over qualities of means over pictures."""

    experts: Experts
    anchor: Anchor
    tokens_count: bool = True  # in the bits
    scrambled: bool = False
    without_latent: bool = False
    bpp: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    kid: list[float] = field(default_factory=list)

    def given(self, symbols: Symbols) -> Symbols:
        """The symbols that this way decodes."""
        random = np.random.default_rng(0)
        return {
            box: TileSymbols(
                None if self.without_latent else held.latent,
                random.permuted(held.tokens.ravel()).reshape(held.tokens.shape)
                if self.scrambled and held.tokens is not None
                else held.tokens,
            )
            for box, held in symbols.items()
        }


def ways(experts: Experts, weights: Weights) -> dict[str, Way]:
    """All that is compared. `weights`: of the mode part."""
    fidelity, perception = Anchor.FIDELITY, Anchor.PERCEPTION
    silence = partial(silenced, experts.mode, weights)
    return {
        "base": Way(Experts(experts.base), fidelity, tokens_count=False),
        "MoDE-F": Way(experts, fidelity),
        "MoDE-F, tokens scrambled": Way(experts, fidelity, scrambled=True),
        "MoDE-P": Way(experts, perception),
        "MoDE-P, tokens scrambled": Way(experts, perception, scrambled=True),
        "MoDE-P, ESE silenced": Way(replace(experts, mode=silence("gamma")), perception),
        "MoDE-P, CEM silenced": Way(replace(experts, mode=silence("psi", "scale_shift")), perception),
        "perception expert alone": Way(experts, perception, without_latent=True),
    }


def silenced(mode: Networks | None, weights: Weights, *names: str) -> Networks:
    """MoDE with all weights zero that have one of these names in theirs."""
    assert mode is not None
    chosen = [name for name in weights if any(part in name.split(".") for part in names)]
    return mode.changed({name: np.zeros_like(weights[name]) for name in chosen})


def measure(model: str, trunk: Path, paths: list[Path]) -> dict[str, Way]:
    """Encode pictures at QUALITIES, decode each file in all ways."""
    import nicodec

    perception, weights = Perception(trunk), read_weights(find_package(model).parts["mode"])
    originals = [read_picture(path.read_bytes()).pixels for path in paths]
    expected = np.concatenate([perception.features(pixels) for pixels in originals])
    found: dict[str, Way] = {}
    for quality in QUALITIES:
        rows: dict[str, list[tuple[float, float, float]]] = {}
        features: dict[str, list[Features]] = {}
        for path, original in zip(paths, originals, strict=True):
            data = nicodec.encode(path, quality=quality, model=model, references="off")
            file = read_file(data)
            base = OwnDecoder(file, device="cpu")
            found = found or ways(base.experts(Anchor.PERCEPTION), weights)
            symbols, depth = base.symbols(), base.tokens.depth if base.tokens else 0
            whole = Box(0, 0, file.header.width, file.header.height)
            tokens = len(file.sections[SectionType.VQ].payload)
            for name, way in found.items():
                painter = Synthesis(file.header, way.experts, depth)
                (decoded,) = painter.paint(way.given(symbols), whole, Rendering(way.anchor))
                size = len(data) if way.tokens_count else len(data) - tokens
                bpp = 8 * size / (whole.width * whole.height)
                rows.setdefault(name, []).append((bpp, psnr(original, decoded), perception.distance(original, decoded)))
                features.setdefault(name, []).append(perception.features(decoded))
        for name, way in found.items():
            bpp, score, lpips = (statistics.mean(column) for column in zip(*rows[name], strict=True))
            way.bpp.append(bpp)
            way.score.append(score)
            way.lpips.append(lpips)
            way.kid.append(kernel_distance(expected, np.concatenate(features[name])))
    return found


def table(found: dict[str, Way]) -> str:
    """Markdown: at each quality bpp, PSNR, LPIPS, KID; and bits at equal LPIPS against the base alone."""
    base = Curve(found["base"].bpp, found["base"].lpips)
    lines = ["| way | " + " | ".join(f"q {quality}" for quality in QUALITIES) + " | bits at equal LPIPS |"]
    lines.append("|---" * (len(QUALITIES) + 2) + "|")
    for name, way in found.items():
        cells = (
            f"{bpp:.3f}: {score:.2f}, {lpips:.3f}, {1000 * kid:.1f}"
            for bpp, score, lpips, kid in zip(way.bpp, way.score, way.lpips, way.kid, strict=True)
        )
        difference = bd_rate("lpips", base, Curve(way.bpp, way.lpips))
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if difference is None else f'{difference:+.1f} %'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print("bpp: PSNR, LPIPS, 1000 KID\n")
    print(table(measure(sys.argv[1], Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])))
