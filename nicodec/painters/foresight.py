"""What can be made of a tile while its symbols are being read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from nicodec.ahead import begun
from nicodec.container.layout import Box
from nicodec.entropy.coder import Latent
from nicodec.entropy.motion import Motion
from nicodec.entropy.order import Pass
from nicodec.errors import CorruptFileError
from nicodec.latents.floats import Expected, FloatPath, as_array, symbols_of
from nicodec.latents.geometry import Array
from nicodec.latents.rates import to_rates
from nicodec.streams import Listener

Expectation = Callable[[Box, Motion], Expected]


class Foresight(Listener):
    """Of one tile: what references say, from its motion on, and then y_hat, each pass as soon as it is read.

    In one thread, from the first that it hears.

    Args:
        expect: what references say of a tile.
    """

    def __init__(self, base: FloatPath, expect: Expectation) -> None:
        self._base, self._expect = base, expect
        self._heard: SimpleQueue[Latent | None] = SimpleQueue()  # the latent as it grows; None: no more of it
        self._y_hat: Callable[[], Array] | None = None
        self._latent: Latent | None = None
        self._wanted = True

    def moved(self, tile: Box, motion: Motion) -> None:
        """The tile's motion is there, but for the classes, which what references say does not depend on."""
        self._y_hat = begun(partial(self._reconstruct, partial(self._expect, tile, motion)))

    def passed(self, tile: Box, latent: Latent, passes: int) -> None:
        """The latent's z_hat is there, and so many passes of its symbols."""
        self._latent = latent
        self._heard.put(latent)
        if self._y_hat is None:
            self._y_hat = begun(partial(self._reconstruct, lambda: None))

    def end(self, *, wanted: bool) -> None:
        """No more will be read, so no thread is to wait for more. `wanted`: whether what was read is of any use."""
        self._wanted = wanted
        self._heard.put(None)

    def y_hat(self, latent: Latent) -> Array | None:
        """As `FloatPath.reconstruct`, of a latent all of which was read; None: it is not the one that was foreseen."""
        return self._y_hat() if self._y_hat and latent is self._latent else None

    def _reconstruct(self, expect: Callable[[], Expected | None]) -> Array:
        expected, latent = expect(), self._next()

        def read(step: Pass) -> Array:
            return symbols_of(self._next(), step)  # meanwhile, the next pass may be read, of the other parity

        return self._base.reconstruct(as_array(latent.z_hat), read, to_rates(latent.rate), expected)

    def _next(self) -> Latent:
        latent = self._heard.get()
        if latent is None or not self._wanted:
            raise CorruptFileError("an entropy stream breaks off")
        return latent
