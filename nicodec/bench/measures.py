"""The figures of quality that a report has, and what each asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which

from nicodec.image.picture import Pixels
from nicodec.metrics.perceptual import Dists, Perception
from nicodec.metrics.psnr import psnr, psnr_y
from nicodec.metrics.structure import ms_ssim
from nicodec.metrics.visible import BUTTERAUGLI, Cvvdp, butteraugli, ssimulacra2

Compare = Callable[[Pixels, Pixels], float | None]  # an original and a decoded picture, uint8 (H, W, 3)

ASKS = {
    "Fidelity": "how near a picture is to its own original. PSNR asks for equal values (RGB, or Y alone), MS-SSIM for "
    "equal local structure, SSIMULACRA2, CVVDP and butteraugli for differences that an eye does not see.",
    "Naturalness": "how much a picture looks like one that was never coded. LPIPS and DISTS ask for the original's "
    "features and textures, not its values; patch KID and Frechet ask only that the patches of the whole set are "
    "distributed as the originals' are, and compare no picture with its own original.",
}


@dataclass(frozen=True)
class Measure:
    """How a figure is shown and compared.

    Attributes:
        asks: which of ASKS it belongs to.
        of_set: it is a distance between sets, not a mean over pictures.
    """

    label: str
    asks: str
    digits: int
    higher_is_better: bool
    of_set: bool = False


MEASURES = {
    "psnr": Measure("PSNR RGB, dB", "Fidelity", 2, True),
    "psnr_y": Measure("PSNR Y, dB", "Fidelity", 2, True),
    "ms_ssim": Measure("MS-SSIM", "Fidelity", 4, True),
    "ssimulacra2": Measure("SSIMULACRA2", "Fidelity", 2, True),
    "cvvdp": Measure("CVVDP, JOD", "Fidelity", 3, True),
    "butteraugli": Measure("butteraugli, 3-norm, lower is better", "Fidelity", 3, False),
    "lpips": Measure("LPIPS (AlexNet), lower is better", "Naturalness", 4, False),
    "dists": Measure("DISTS, lower is better", "Naturalness", 4, False),
    "kid": Measure("patch KID, lower is better", "Naturalness", 5, False, of_set=True),
    "frechet": Measure("patch Frechet, lower is better", "Naturalness", 3, False, of_set=True),
}
OF_PICTURES = tuple(name for name, measure in MEASURES.items() if not measure.of_set)
OF_SETS = tuple(name for name, measure in MEASURES.items() if measure.of_set)


def comparisons(perception: Perception | None) -> tuple[dict[str, Compare], dict[str, str]]:
    """What can be measured of a picture here, by the names of MEASURES; and why the rest can not, by what it is."""
    found: dict[str, Compare] = {"psnr": psnr, "psnr_y": psnr_y, "ms_ssim": ms_ssim}
    absent = {}
    if find_spec("ssimulacra2"):
        found["ssimulacra2"] = ssimulacra2
    else:
        absent["SSIMULACRA2"] = "pip install ssimulacra2, which is part of nicodec[bench]"
    if find_spec("pycvvdp"):
        found["cvvdp"] = Cvvdp().quality
    else:
        absent["CVVDP"] = "pip install cvvdp, which is part of nicodec[bench]"
    if which(BUTTERAUGLI):
        found["butteraugli"] = butteraugli
    else:
        absent["butteraugli"] = f"{BUTTERAUGLI}, one of libjxl's tools, is not installed"
    if perception is not None:
        found["lpips"] = perception.distance
    else:
        absent["LPIPS, patch KID and Frechet"] = "no AlexNet trunk in torch's cache; give one with --trunk"
    if Dists.available():
        found["dists"] = Dists().distance
    else:
        absent["DISTS"] = "the piq package or its weights in torch's cache are not there"
    return found, absent
