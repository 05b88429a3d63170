"""The fuser at work: a latent diffusion from y_hat towards a latent that decodes to a natural picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nicodec.engines import Networks, load_networks
from nicodec.latents.geometry import Array
from nicodec.latents.rates import interpolate, spread
from nicodec.painters.strength import Strength, plain
from nicodec.zoo.manifest import Part
from nicodec.zoo.stored import read_config

PER_COUNTER = 8  # normals that one 256-bit step of Philox's counter yields


@dataclass(frozen=True)
class Fuser:
    """A fuser's networks, and the steps of its diffusion; see `nicodec.networks.fuser.Denoiser`.

    Attributes:
        halo: positions around one that it depends on, or more.
        mapped: whether it was trained with quality maps.
        groups: that tokens of texture speak of, which it was trained to hear.
        hears: whether the tokens at hand are those.
        anchored: whether it has learned how strongly they act.
    """

    networks: Networks
    halo: int
    mapped: bool = False
    groups: int = 0
    hears: bool = False
    anchored: bool = False

    def strength(self, rate: int) -> Strength:
        """How strongly tokens of texture act at a file's rate, 0..65535."""
        if not (self.hears and self.anchored):
            return plain(rate)
        heard, led, textured, reach = (
            interpolate(self.networks.weight(f"strengths.{name}"), np.array([rate], np.float32))[0, :, 0, 0]
            for name in ("heard", "led", "textured", "reach")
        )
        return Strength(float(heard[0]), reach * led, reach * textured)

    def residual(
        self, y_hat: Array, step: Array, noise: Array, rates: Array, steps: int, said: Array | None = None
    ) -> Array:
        """Sample y' - y_hat by DDIM (deterministic but for the noise that it starts from).

        Args:
            y_hat: (1, M, h, w) in natural units.
            step: the quantiser's in natural units, (1, M, 1, 1), or a map of them.
            noise: (1, M, h, w), standard normal.
            rates: as `to_rates` gives them.
            steps: evaluations of D, 1 or more.
            said: as `told` gives it; None: nothing.

        Returns:
            (1, M, h, w) in natural units.
        """
        step = spread(step, y_hat)
        heard = [np.zeros((1, self.groups + 1, *y_hat.shape[2:]), np.float32) if said is None else said]
        r_t, (linear,) = noise, self.networks("linear", y_hat)
        for index in range(steps, 0, -1):
            now, then = math.pi / 2 * index / steps, math.pi / 2 * (index - 1) / steps
            time = np.array([index / steps], np.float32)
            (r,) = self.networks("denoiser", r_t, time, y_hat, linear, step, rates, *heard[: bool(self.groups)])
            r_t = np.float32(math.cos(then)) * r + np.float32(math.sin(then) / math.sin(now)) * (
                r_t - np.float32(math.cos(now)) * r
            )
        return r_t * self.networks.weight("spread")[:, None, None] * step


def load_fuser(part: Part, engine: str, device: str, texture: bytes | None = None) -> Fuser:
    """That of a fuser part. `texture`: id of the part of the tokens at hand. Raises: as `load_networks`."""
    config = read_config(part)
    halo, groups = halo_of(config["depth_16"], config["depth_8"]), config.get("groups", 0)
    hears = bool(groups) and texture is not None and config["texture"] == texture.hex()
    mapped, anchored = config.get("tunes", 1) > 1, config.get("anchored", False)
    return Fuser(load_networks(part, engine, device), halo, mapped, groups, hears, anchored)


def told(code: Array, side: int) -> Array:
    """What tokens of texture say, cell by cell (1, G, h, w), nan where nothing, as the denoiser hears it.

    Returns:
        (1, G + 1, h·side, w·side): the last is 1 where something is said.
    """
    flagged = np.concatenate([np.nan_to_num(code), np.isfinite(code[:, :1])], 1, dtype=np.float32)
    return flagged.repeat(side, 2).repeat(side, 3)


def halo_of(depth_16: int, depth_8: int) -> int:
    """Positions around one that a denoiser of so many blocks sees: even, for tokens that are two positions wide."""
    return 2 * math.ceil((depth_16 + depth_8 / 2 + 2) / 2)  # both lappings reach half a position


def normals(seed: int, rows: slice, columns: slice, channels: int) -> NDArray[np.float32]:
    """Standard normal noise of a part of a latent (channels, h, w): the same whatever part is asked for, anywhere.

    Philox (Salmon et al. 2011), keyed by seed and row, its counter set by the column; Box and Muller's transform.
    """
    counters = -(-channels // PER_COUNTER)
    count = columns.stop - columns.start
    noise = np.empty((rows.stop - rows.start, count, counters * PER_COUNTER), np.float32)
    for index, row in enumerate(range(rows.start, rows.stop)):
        source = np.random.Philox(key=np.array([seed, row], np.uint64))
        source.advance(columns.start * counters)
        halves = source.random_raw(count * counters * 4).view(np.uint32).reshape(count, -1, 2)
        radius = np.sqrt(-2 * np.log((halves[..., 0] + 1.0) / 2.0**32))
        angle = halves[..., 1] * (2 * np.pi / 2.0**32)
        noise[index] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(count, -1)
    return np.ascontiguousarray(noise[:, :, :channels].transpose(2, 0, 1))
