"""LPIPS and distances between distributions of patches, over an AlexNet trunk that the user already has.

Nothing is downloaded: the trunk comes from a given file or from torch's cache, LPIPS's heads from the `lpips` package.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nicodec.errors import UsageError, brief
from nicodec.image.picture import Pixels

KID_PATCH = 64  # side of the patches whose features are compared, in pixels; they do not overlap
NETS = {"alex": "AlexNet", "squeeze": "SqueezeNet 1.1", "vgg": "VGG-16"}
CACHED = "alexnet-owt-7be5be79.pth"

Features = NDArray[np.float32]


def find_trunk(given: Path | None) -> Path | None:
    """The file of AlexNet's convolutions: the given one, or torchvision's in torch's cache, or None."""
    if given is not None:
        return given
    cached = Path(torch.hub.get_dir()) / "checkpoints" / CACHED
    return cached if cached.is_file() else None


def read_trunk(trunk: Path) -> dict[str, Tensor]:
    """The weights in a file, by name.

    Raises:
        UsageError: there are none.
    """
    try:
        return dict(torch.load(trunk, map_location="cpu", weights_only=True))
    except Exception as error:  # what torch raises here depends on the kind of damage
        raise UsageError(f"{trunk} is no file of weights that torch reads: {brief(error)}") from None


def load_lpips(net: str, trunk: Path) -> Any:
    """LPIPS 0.1 over the convolutions in `trunk`, in evaluation mode and frozen.

    Args:
        net: one of NETS.
        trunk: a state dict with torchvision's names, `features.0.weight` ..

    Raises:
        UsageError: the file is another network's, or none.
    """
    import lpips

    state = read_trunk(trunk)
    with warnings.catch_warnings(action="ignore"):  # it calls torchvision in a deprecated way
        metric = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval().requires_grad_(False)
    for slice_ in (getattr(metric.net, f"slice{index}") for index in range(1, metric.L + 1)):
        for name, layer in slice_.named_children():
            try:
                layer.load_state_dict({key: state[f"features.{name}.{key}"] for key in layer.state_dict()})
            except (KeyError, RuntimeError):
                raise UsageError(
                    f"{trunk} holds other weights, expected those of {NETS[net]} with torchvision's names"
                ) from None
    return metric


class Perception:
    """LPIPS (AlexNet, version 0.1) and patch features of one trunk.

    Args:
        trunk: a state dict with torchvision's names, `features.0.weight` ..

    Raises:
        UsageError: the file is another network's, or none.
    """

    def __init__(self, trunk: Path) -> None:
        self.lpips = load_lpips("alex", trunk)

    @torch.inference_mode()
    def distance(self, a: Pixels, b: Pixels) -> float:
        """LPIPS of two uint8 RGB pictures (H, W, 3), scaled to -1..1; 0 is equal. Sides of at least 32 pixels."""
        return float(self.lpips(*(_scaled(p) for p in (a, b))))

    @torch.inference_mode()
    def features(self, pixels: Pixels) -> Features:
        """Mean conv5 activations of each 64x64 patch of a picture (H, W, 3): (patches, 256) float32."""
        x = self.lpips.scaling_layer(_scaled(pixels))
        patches = F.unfold(x, KID_PATCH, stride=KID_PATCH)[0].T.reshape(-1, 3, KID_PATCH, KID_PATCH)
        outputs = [self.lpips.net(part).relu5.mean((2, 3)) for part in torch.split(patches, 64)]
        return torch.cat(outputs).numpy() if outputs else np.zeros((0, 256), np.float32)


def _scaled(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


def kernel_distance(a: Features, b: Features) -> float:
    """KID: unbiased squared maximum mean discrepancy with the kernel (x·y/d + 1)^3 (Binkowski et al., 2018).

    Args:
        a, b: (patches, d); not a KID over Inception features, so comparable within this project only.
    """
    dimension = a.shape[1]
    n, m = len(a), len(b)
    aa, bb, ab = ((x.astype(np.float64) @ y.T / dimension + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


def frechet_distance(a: Features, b: Features) -> float:
    """Frechet distance of Gaussians fitted to two sets of features (patches, d); wants many more patches than d."""
    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    cov_a, cov_b = np.cov(a.T.astype(np.float64)), np.cov(b.T.astype(np.float64))
    # tr sqrt(Ca Cb) from the eigenvalues of the symmetric sqrt(Ca) Cb sqrt(Ca): no complex square roots.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


class Dists:
    """DISTS through the `piq` package; only where torch's cache has its weights."""

    FILES = ("vgg16-397923af.pth", "dists_weights.pt")

    @classmethod
    def available(cls) -> bool:
        """Whether the package and both weight files are there."""
        try:
            import piq  # noqa: F401
        except ImportError:
            return False
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        return all((folder / name).is_file() for name in cls.FILES)

    def __init__(self) -> None:
        import piq

        self.metric = piq.DISTS()

    @torch.inference_mode()
    def distance(self, a: Pixels, b: Pixels) -> float:
        """DISTS of two uint8 RGB pictures (H, W, 3), scaled to 0..1; 0 is equal."""
        return float(self.metric(*((_scaled(p) + 1) / 2 for p in (a, b))))
