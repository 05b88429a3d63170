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
    """Of one tile: what references say, from its motion on, and y_hat, each pass as soon as it is read. In threads.

    Args:
        expect: what references say of a tile.
    """

    def __init__(self, base: FloatPath, expect: Expectation) -> None:
        self._base, self._expect = base, expect
        self._passes: SimpleQueue[bool] = SimpleQueue()
        self._expected: Callable[[], Expected] | None = None
        self._y_hat: Callable[[], Array] | None = None

    def moved(self, tile: Box, motion: Motion) -> None:
        """The tile's motion is there, but for the classes, which what references say does not depend on."""
        self._expected = begun(partial(self._expect, tile, motion))

    def passed(self, tile: Box, latent: Latent, passes: int) -> None:
        """The latent's z_hat is there, and so many passes of its symbols."""
        if passes == 0:
            self._y_hat = begun(partial(self._reconstruct, latent))
        else:
            self._passes.put(True)

    def end(self) -> None:
        """No more will be read: of a stream that breaks off, a thread still waits for what follows."""
        self._passes.put(False)

    def y_hat(self) -> Array | None:
        """As `FloatPath.reconstruct`, of a tile whose symbols were all read; None: there are none."""
        return self._y_hat() if self._y_hat else None

    def _reconstruct(self, latent: Latent) -> Array:
        def read(step: Pass) -> Array:
            if not self._passes.get():
                raise CorruptFileError("an entropy stream breaks off")
            return symbols_of(latent, step)

        expected = self._expected() if self._expected else None
        return self._base.reconstruct(as_array(latent.z_hat), read, to_rates(latent.rate), expected)
