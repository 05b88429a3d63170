"""How visible a difference is, by models of human vision: SSIMULACRA2, ColorVideoVDP and butteraugli.

The first two are those of their Python packages, the third is libjxl's own program.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nicodec.image.picture import Pixels

BUTTERAUGLI = "butteraugli_main"  # as libjxl names the program
LEAST_SIDE = 8  # below it SSIMULACRA2 has no scale to look at, and would call any two pictures equal


def ssimulacra2(a: Pixels, b: Pixels) -> float | None:
    """SSIMULACRA2 of an original and a decoded uint8 sRGB picture (H, W, 3); None where a side is below LEAST_SIDE.

    100 is equal, 90 visually lossless, 70 high quality, 50 medium; it may be negative.
    """
    if min(a.shape[:2]) < LEAST_SIDE:
        return None
    from ssimulacra2 import compute_ssimulacra2

    return float(compute_ssimulacra2(_file(a), _file(b)))


def _file(pixels: Pixels) -> io.BytesIO:
    """The package reads files."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PPM")
    buffer.seek(0)
    return buffer


def butteraugli(a: Pixels, b: Pixels) -> float:
    """Butteraugli's 3-norm of an original and a decoded uint8 sRGB picture (H, W, 3), at 80 cd/m^2; 0 is equal."""
    with tempfile.TemporaryDirectory() as folder:
        original, decoded = Path(folder) / "a.ppm", Path(folder) / "b.ppm"
        Image.fromarray(a).save(original)
        Image.fromarray(b).save(decoded)
        command: list[str | Path] = [BUTTERAUGLI, original, decoded, "--intensity_target", "80"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.split("3-norm:")[1])


class Cvvdp:
    """ColorVideoVDP (CVVDP) on its `standard_4k` display: 30 inches, 200 cd/m^2, seen from 0.75 m."""

    DISPLAY = "standard_4k"

    def __init__(self) -> None:
        import pycvvdp

        self.metric = pycvvdp.cvvdp(display_name=self.DISPLAY, device=torch.device("cpu"))

    @torch.inference_mode()
    def quality(self, a: Pixels, b: Pixels) -> float:
        """Of an original and a decoded uint8 sRGB picture (H, W, 3), in just-objectionable differences; 10 is equal."""
        # np.array: what Pillow lends is read-only, which torch warns of.
        return float(self.metric.predict(np.array(b), np.array(a), dim_order="HWC")[0])
