"""From latents and tokens to pixels: the base, MoDE's anchors, the fuser. numpy; engines run the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nicodec.container.layout import Anchor
from nicodec.engines import Array


@dataclass(frozen=True)
class Rendering:
    """Which of a file's pictures: the expert to start from, and how far towards a natural picture.

    Attributes:
        anchor: the expert.
        taus: 0..1, a picture for each.
        steps, seed: of the diffusion behind tau.
    """

    anchor: Anchor = Anchor.FIDELITY
    taus: tuple[float, ...] = (0.0,)
    steps: int = 1
    seed: int = 0


PLAIN = Rendering()  # what a decode without options shows


class Painter(Protocol):
    """Who makes a picture of latents: ours (`painters.experts`), or another codec (`foreign.base`)."""

    def paint(
        self, anchor: Anchor, y_hat: Array | None, code: Array | None, rates: Array,
        residual: Array | None = None, taus: Sequence[float] = (0.0,),
    ) -> list[Array]:  # fmt: skip
        """Pixels (1, 3, H, W), about 0..1, for each tau.

        Args:
            anchor: asked for; where one stream is missing, the other paints alone.
            y_hat: (1, M, H/16, W/16) in natural units, or None without an SQ stream.
            code: vectors of the tokens (1, code, H/stride, W/stride), or None without a VQ stream.
            rates: as `to_rates` gives them.
            residual: what the fuser adds to y_hat for a natural picture; None where all taus are 0.
            taus: 0..1, how far the picture is led there.
        """
