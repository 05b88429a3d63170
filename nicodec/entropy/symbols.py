"""What a file holds of one tile."""

from __future__ import annotations

from dataclasses import dataclass

from nicodec.entropy.coder import Latent
from nicodec.entropy.tokens import Tokens


@dataclass(frozen=True)
class TileSymbols:
    """The latent, tokens (h, w) uint16, or both."""

    latent: Latent | None
    tokens: Tokens | None

    def tobytes(self) -> bytes:
        """The latent's bytes, then the tokens', little-endian uint16 in raster order."""
        latent = b"" if self.latent is None else self.latent.tobytes()
        return latent + (b"" if self.tokens is None else self.tokens.astype("<u2").tobytes())

    @property
    def size(self) -> int:
        """How many symbols."""
        latent = 0 if self.latent is None else self.latent.z_hat.size + self.latent.symbols.size
        return latent + (0 if self.tokens is None else self.tokens.size)
