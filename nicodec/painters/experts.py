"""Who paints the picture: the fidelity expert, the perception expert, or MoDE with one of them as the anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nicodec.container.layout import Anchor
from nicodec.engines import Networks
from nicodec.latents.codebook import TokenPath
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import Array
from nicodec.latents.rates import spread
from nicodec.latents.texture import Texture
from nicodec.painters.fuser import Fuser
from nicodec.painters.strength import Strength, plain
from nicodec.zoo.store import missing

FIDELITY_LIMIT = 0.6  # see `bounded`; of photographs, one block of 16x16 in two hundred is beyond, at high rates
NATURAL_LIMIT = 0.8  # of the perception anchor, and wherever tau leads
WEAKEST = plain(0)


@dataclass(frozen=True)
class Experts:
    """The networks that a file's streams, and what is installed, allow.

    Attributes:
        linear: paint the linear synthesis of the latents alone, which all others are held to.
        texture: what the tokens mean, where they are such, and are to be painted with.
    """

    base: FloatPath
    vq: TokenPath | None = None
    mode: Networks | None = None
    fuser: Fuser | None = None
    linear: bool = False
    texture: Texture | None = None

    @property
    def tokens(self) -> TokenPath | Texture | None:
        """What says what a token means; None: they take no part."""
        return self.vq or self.texture

    @property
    def token_side(self) -> int:
        """Positions of the latent along a side of a token."""
        return self.tokens.side if self.tokens else 1

    def paint(
        self, anchor: Anchor, y_hat: Array | None, code: Array | None, rates: Array,
        residual: Array | None = None, taus: Sequence[float] = (0.0,), textures: Strength = WEAKEST,
    ) -> list[Array]:  # fmt: skip
        """What the file holds to pixels (B, 3, H, W), about 0..1, for each tau; never far from its linear synthesis.

        Args:
            anchor: asked for; where one stream is missing, the other paints alone.
            y_hat: (B, M, H/16, W/16) in natural units, or None without an SQ stream.
            code: what the tokens say (B, code, H/stride, W/stride), or None without any.
            rates: as in `interpolate`; with tokens of a VQ part, which files of tunes and maps do not have, (B,).
            residual: what the fuser adds to y_hat for the latent y' of a natural picture; None where all taus are 0.
            taus: 0..1, how far the anchor's picture is led to y', see `Base.correction_towards`. The paper fuses
                y_hat with y' and lets g_s decode both; here the fusion is of y' with the latent of the picture that the
                anchor made.
            textures: how strongly tokens of texture act.

        Raises:
            MissingPartError, DamagedPartError: both streams, perception, and no MoDE part trained on these experts.
        """
        if y_hat is None:
            assert self.vq is not None
            assert code is not None
            return [self.vq.networks("painter", code)[0]] * len(taus)
        linear, step = self.base.linear(y_hat), spread(self.base.ungain(rates), y_hat)
        if self.linear:
            return [linear + np.float32(0.5)] * len(taus)
        pictures = self._anchored(anchor, linear, y_hat, code, rates, residual, taus, textures)
        fidelity, centred = anchor is Anchor.FIDELITY, linear + np.float32(0.5)
        limits = [FIDELITY_LIMIT if fidelity and tau == 0 else NATURAL_LIMIT for tau in taus]
        return [
            self.base.networks("bounded", picture, centred, step, np.array([limit], np.float32))[0]
            for picture, limit in zip(pictures, limits, strict=True)
        ]

    def _anchored(
        self, anchor: Anchor, linear: Array, y_hat: Array, code: Array | None, rates: Array,
        residual: Array | None, taus: Sequence[float], textures: Strength,
    ) -> list[Array]:  # fmt: skip
        """The networks' part of `paint`; `linear`: the base's linear synthesis of y_hat."""
        if code is not None and self.texture is not None and max(taus) > 0:
            return self._textured(self.texture, linear, y_hat, code, rates, residual, taus, textures)
        lead = None if residual is None else partial(self.base.correction_towards, y=y_hat + residual)
        if code is None or self.vq is None or (self.mode is None and anchor is Anchor.FIDELITY):
            x_hat = self.base.g_s(y_hat, rates, linear)
        elif self.mode is None:
            raise missing(
                "no mode part trained on the base and the vq that the file names is installed; decode with "
                "--anchor fidelity, or install the model's package"
            )
        elif anchor is Anchor.PERCEPTION:
            plain, features = self.mode("perception", y_hat, code, rates)
            led = lead(plain) if lead else np.float32(0)
            return [self.mode("painted", plain + np.float32(tau) * led, features, rates)[0] for tau in taus]
        else:
            x_hat = self.mode("fidelity", y_hat, *self.vq.networks("features", code), rates)[0]
        if lead is None:
            return [x_hat] * len(taus)
        led = lead(x_hat)
        return [x_hat + np.float32(tau) * led for tau in taus]

    def _textured(
        self, texture: Texture, linear: Array, y_hat: Array, code: Array, rates: Array, residual: Array | None,
        taus: Sequence[float], textures: Strength,
    ) -> list[Array]:  # fmt: skip
        """The base's picture, led towards y' where there is a fuser, and on the way given the texture of the tokens."""
        x_hat = self.base.g_s(y_hat, rates, linear)
        y_base = self.base.g_a(x_hat)
        lead = 0 if residual is None else y_hat + residual - y_base
        share = textures.led[texture.groups if len(textures.led) > 1 else [0]][:, None, None]
        pictures = []
        for tau in taus:
            led = y_base + np.float32(tau) * share * lead
            y = texture.textured(led, y_base, code, np.float32(tau) * textures.textured)
            pictures.append(x_hat + self.base.linear(y - y_base))
        return pictures
