"""The float path of a base: from pixels to what is quantised, and from symbols to y_hat. No bit depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nicodec.engines import MAPPED, Networks, load_networks
from nicodec.entropy.coder import Latent
from nicodec.entropy.motion import Motion
from nicodec.entropy.order import Pass, checkerboard, passes
from nicodec.entropy.tables import SYMBOL_MAX
from nicodec.image.picture import Pixels
from nicodec.latents.cover import cover
from nicodec.latents.geometry import BLOCK, PATCH, WHOLE, Array, Span, within
from nicodec.latents.rates import interpolate, rates_at, spread
from nicodec.rate.scale import LAMBDA_MAX, TUNE_SPACING
from nicodec.zoo.manifest import Part
from nicodec.zoo.stored import read_config

TRUST_REACH = 1  # positions that trust sees to each side

Choice = Callable[[Pass, Array], Array]


@dataclass(frozen=True, eq=False)
class Expected:
    """What references say of a tile.

    Attributes:
        motion: what it takes of them.
        seen: the pixels that this makes (16h, 16w, C), uint8; of blocks that take nothing, the first reference's.
        y: the latent of these (1, M, h, w), in natural units.
        trust: the networks that say how far each component is so, in classes below WHOLLY, and in all slices but the
            last; None: as it stands.
    """

    motion: Motion
    seen: Pixels
    y: Array
    trust: Networks | None = None

    @property
    def where(self) -> NDArray[np.bool_]:
        """Positions (h, w) whose mean it is, as it stands or as far as it is trusted."""
        return self.motion.classes > 0

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """Of these, the ones of which trust tells how far it is."""
        return self.motion.doubted & (self.trust is not None)


@dataclass(frozen=True)
class FloatPath:
    """A base's networks, and the walk over its passes; the arrays' version of `nicodec.networks.base.Base`.

    ::

        x ─► g_a ─► y ─► ·gain(rate) ─► minus means, round ─► symbols ─► plus means ─► /gain ─► y_hat ─► g_s ─► x_hat
                    └──► h_a ─► z ─► round ─► z_hat ─┬─► means (here, float)
                                                     └─► scales (nicodec.entropy, integer)

    Rates are as `to_rates` gives them; y is (1, M, h, w), in quantiser steps unless it is said to be in natural units.
    """

    networks: Networks
    latent: int
    slices: int
    tunes: int = 1
    lambda_max: float = LAMBDA_MAX
    context_depth: int = 1

    @classmethod
    def of(cls, networks: Networks, config: Mapping[str, Any]) -> FloatPath:
        """With the widths of a `BaseConfig`."""
        more = {name: config[name] for name in ("tunes", "lambda_max", "context_depth") if name in config}
        return cls(networks, config["latent"], config["slices"], **more)

    @cached_property
    def std(self) -> Array:
        """The spread of y on training pictures (1, M, 1, 1)."""
        return self.networks.weight("std")[None, :, None, None]

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """Which components of y are a flat colour, more than anything else: (M,)."""
        waves = self.networks.weight("g_s.klt_t.weight").reshape(3, PATCH**2, self.latent)
        power = np.square(waves).sum((0, 1))
        return np.square(waves.mean(1)).sum(0) * PATCH**2 > power / 2

    def gain(self, rates: Array) -> Array:
        """Natural units to quantiser steps: (1, M, 1, 1), or (1, M, h/4, w/4) with a quality map; positive."""
        return np.exp(interpolate(self.networks.weight("log_gain"), rates))

    def ungain(self, rates: Array) -> Array:
        """Quantiser steps to natural units, as `gain`; learned apart from it."""
        return np.exp(interpolate(self.networks.weight("log_ungain"), rates))

    def coarseness(self, rates: Array) -> Array:
        """How many times as large the steps are as those of tune `psnr`, the last one, as `gain`; 1 without tunes."""
        spacing = np.float32(TUNE_SPACING)
        return self.ungain(rates) / self.ungain(rates % spacing + spacing * np.float32(self.tunes - 1))

    def g_a(self, x: Array) -> Array:
        """Pixels (1, 3, H, W), 0..1, to y in natural units."""
        return self.networks("g_a", x)[0]

    def linear(self, y_hat: Array) -> Array:
        """The linear synthesis of y_hat in natural units: (1, 3, H, W), about -0.5..0.5."""
        return self.networks("linear", y_hat)[0]

    def g_s(self, y_hat: Array, rates: Array, linear: Array | None = None) -> Array:
        """Pixels of y_hat in natural units; `linear`: of y_hat, if it is there already."""
        return self.networks("g_s", self.linear(y_hat) if linear is None else linear, y_hat, rates)[0]

    def correction_towards(self, x_hat: Array, y: Array) -> Array:
        """The correction of a picture x_hat towards the one whose latent is y (natural units).

        All linear: g_s removes quantisation error, and would remove texture that was never quantised as well.
        """
        return self.linear(y - self.g_a(x_hat))

    def scaled(self, y: Array, rates: Array, core: Span = WHOLE) -> tuple[Array, Array]:
        """What g_a made of a tile and its halo to what is to be quantised.

        Args:
            y: in natural units.
            rates: of the tile and its halo.
            core: rows and columns that are the tile's own.

        Returns:
            y, not rounded, and z_hat of the core (1, N, h/4, w/4), whole numbers.
        """
        (z,) = self.networks("h_a", y[:, :, core[0], core[1]] / self.std, rates_at(rates, core))
        return y * spread(self.gain(rates), y), np.rint(z).clip(-SYMBOL_MAX, SYMBOL_MAX)

    def quantise(
        self, y: Array, z_hat: Array, rates: Array, choose: Choice | None = None, expected: Expected | None = None
    ) -> tuple[Array, Array]:
        """Decide on the symbols of a core, pass by pass.

        Args:
            z_hat: (1, N, h/4, w/4).
            choose: residuals of a pass to its symbols, all (1, M/slices, h, w); None rounds.
            expected: means that references give.

        Returns:
            Symbols and y_hat.
        """
        symbols = np.zeros_like(y)
        height, width = y.shape[2:]

        def residual(step: Pass, mean: Array) -> Array:
            rest = y[:, step.start : step.stop] - mean
            new = choose(step, rest) if choose else np.rint(rest).clip(-SYMBOL_MAX, SYMBOL_MAX)
            symbols[:, step.start : step.stop] += new * checkerboard(height, width, step.parity)
            return new

        return symbols, self._passes(z_hat, rates, residual, expected)

    def reconstruct(
        self, z_hat: Array, symbols: Callable[[Pass], Array], rates: Array, expected: Expected | None = None
    ) -> Array:
        """Symbols to y_hat in natural units, for g_s. `symbols`: of a pass (1, M/slices, h, w), asked for in order.

        What these have at positions of the other parity does not matter.
        """
        y_hat = self._passes(z_hat, rates, lambda step, _: symbols(step), expected)
        return y_hat * spread(self.ungain(rates), y_hat)

    def prepare(self, *, mapped: bool, trust: Networks | None = None) -> None:
        """Have the networks that make a picture of symbols started meanwhile. `mapped`: with a quality map."""
        steps = passes(self.latent, self.slices)
        by_rate = ["hyper_features", *(f"means_{step.index}" for step in steps), "g_s"]
        self.networks.prepare([*(name + MAPPED * mapped for name in by_rate), "linear"])
        if trust is not None:
            trust.prepare([f"trust_{step.index}" + MAPPED * mapped for step in steps[:-2]])

    def changed(self, weights: Mapping[str, Array]) -> FloatPath:
        """With some other weights of the networks."""
        return replace(self, networks=self.networks.changed(weights))

    def _passes(self, z_hat: Array, rates: Array, residual: Choice, expected: Expected | None) -> Array:
        """Walk the passes: y_hat = symbols, of `residual`, + means, of the networks or of what references say."""
        height, width = (BLOCK * length for length in z_hat.shape[2:])
        seen = np.zeros((1, self.latent, height, width), np.float32)
        asked = np.ones((height, width), np.bool_) if expected is None else ~expected.where
        places = places_of(asked, self.context_depth)
        features = seen
        if places or (expected is not None and expected.doubted.any()):
            (features,) = self.networks("hyper_features", z_hat, rates)
        gain = spread(self.gain(rates), seen)
        unit = self.std * gain + np.float32(0.1)
        referred = None if expected is None else ReferenceMeans(expected, features, gain, unit, rates)
        for step in passes(self.latent, self.slices):
            part = slice(step.start, step.stop)
            mask = checkerboard(height, width, step.parity).astype(np.float32)
            mean = np.zeros_like(seen[:, part])
            for core, near in places:
                around = features[:, :, *near], seen[:, :, *near], rates_at(rates, near)
                (found,) = self.networks(f"means_{step.index}", *around)
                mean[:, :, *core] = found[:, :, *within(core, near)]
            mean *= unit[:, part]
            if referred is not None:
                mean = np.where(referred.where, referred.means(step), mean)
            new = (residual(step, mean) + mean) * mask / unit[:, part]
            seen[:, part] += new
            if referred is not None:
                referred.tell(step, new, mask)
        return seen * unit


class ReferenceMeans:
    """What references say of the means of a tile, pass by pass, in quantiser steps."""

    def __init__(self, expected: Expected, hyper: Array, gain: Array, unit: Array, rates: Array) -> None:
        """Set up.

        Args:
            hyper: features of z_hat, if there is any doubt.
            gain, unit: natural units to steps, and the spread of y in these; (1, M, h, w) or (1, M, 1, 1).
        """
        self.where, self.doubted, self.trust = expected.where, expected.doubted, expected.trust
        self.hyper, self.unit, self.rates = hyper, unit, rates
        self.plain = expected.y * gain
        self.places = places_of(self.doubted, TRUST_REACH)
        if self.places:
            self.y_ref, self.off = self.plain / unit, np.zeros_like(self.plain)  # and y_hat - y_ref, where there is one

    def means(self, step: Pass) -> Array:
        """Of the slice of a pass (1, M/slices, h, w)."""
        part = slice(step.start, step.stop)
        if self.trust is None or not self.places or step.stop == self.plain.shape[1]:
            return self.plain[:, part]
        mean = np.zeros_like(self.plain[:, part])
        for core, near in self.places:
            around = (each[:, :, *near] for each in (self.hyper, self.y_ref, self.off))
            (found,) = self.trust(f"trust_{step.index}", *around, rates_at(self.rates, near))
            mean[:, :, *core] = found[:, :, *within(core, near)]
        return np.where(self.doubted, mean * self.unit[:, part], self.plain[:, part])

    def tell(self, step: Pass, y_hat: Array, mask: Array) -> None:
        """The y_hat of a pass, in units of the spread, zero at positions of the other parity; `mask`: 1 at its own."""
        if self.places:
            part = slice(step.start, step.stop)
            self.off[:, part] += y_hat - self.y_ref[:, part] * mask


def places_of(asked: NDArray[np.bool_], reach: int) -> list[tuple[Span, Span]]:
    """Where networks that see `reach` positions far work for positions (h, w) that are asked for, and what they see."""
    return [(part.span, part.around(reach, *asked.shape).span) for part in cover(asked, reach)]


def as_array(symbols: NDArray[np.int16]) -> Array:
    """Whole numbers as entropy coding has them (h, w, C) as networks do: (1, C, h, w)."""
    return np.moveaxis(symbols, 2, 0)[None].astype(np.float32, order="C")


def symbols_of(latent: Latent, step: Pass) -> Array:
    """The symbols of a pass, for `FloatPath.reconstruct`."""
    return as_array(latent.symbols[:, :, step.start : step.stop])


def load_float_path(part: Part, engine: str, device: str) -> FloatPath:
    """That of a base part. Raises: as `load_networks`."""
    return FloatPath.of(load_networks(part, engine, device), read_config(part))
