"""What a picture looks like, as a loss: LPIPS and statistics of textures over trained networks, and a model of V1."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nicodec.metrics.perceptual import load_lpips, read_trunk
from nicodec.training.cortex import Cortex
from nicodec.training.sq import psnr

CORTEX = 0.1  # weight of `Cortex.distance` next to LPIPS: it sees phases, and with 0.3 fine texture never paid
HALVED = 128  # pixels, at least, of a side that may be halved: the trunk wants 31
TEXTURE = 0.3  # weight next to LPIPS: with 1.0 LPIPS (AlexNet) and PSNR were worse after as many steps
L1 = 0.015  # weight next to LPIPS: beside the model of V1, which sees phases, colours need no more
GRID = 250.0  # weight of `grid` next to LPIPS: a pattern of 3/255 costs as much as 0.035
PERIOD = 8  # pixels: of the finest blocks that any of our decoders paints alike
GRAIN = 0.02  # sigma of the noise, at most, that both pictures get: the trunk sees less of what is fainter
GRAIN_OF_ERROR = 0.25  # and at most this share of the error's: else it hides what differs where little does
WEIGHT_NOISE = 0.2  # sigma, as a share of a weight: each of the trunk's changes so much from batch to batch
WINDOW = 2  # cells, overlapping by half: a window is 16 to 32 pixels wide
VGG_ONLY = "features.28.weight"  # SqueezeNet has no such layer
LAYERS = {  # of a trunk: cells, see `Trunk`; and shares of the layers, on top of its heads
    "squeeze": ((4, 4, 2, 2, 1, 1, 1), (0.25, 0.5, 0.35, 0.5, 1.0, 2.0, 2.0)),  # by LPIPS's, late ones hardly count
    "vgg": ((8, 4, 4, 2, 1), (0.05, 0.15, 0.25, 0.4, 0.5)),  # together about as much as SqueezeNet's
}


class Trunk(nn.Module):
    """A trained network's features, as LPIPS compares them: SqueezeNet 1.1 with LPIPS's heads, or VGG-16 without any.

    LPIPS's heads fit one set of weights, and there are several of VGG-16: there all channels count alike, which is
    LPIPS's own baseline (Zhang et al., arXiv 1801.03924).

    Attributes:
        heads: of each layer, (1, C, 1, 1): how much a channel counts.
        cells: of each layer: positions, across and down, that are averaged before windows are compared.
    """

    def __init__(self, weights: Path) -> None:
        """Read weights with torchvision's names. Raises: see `load_lpips`."""
        super().__init__()
        net = "vgg" if VGG_ONLY in read_trunk(weights) else "squeeze"
        lpips = load_lpips(net, weights)
        self.cells, shares = LAYERS[net]
        self.net, self.scaling = lpips.net.to(memory_format=torch.channels_last), lpips.scaling_layer
        own = [line.model[-1].weight for line in lpips.lins]
        heads = own if net == "squeeze" else [torch.ones_like(head) for head in own]
        self.heads = nn.ParameterList([share * head for share, head in zip(shares, heads, strict=True)])
        self.requires_grad_(False)

    def doubted(self) -> dict[str, Tensor]:
        """Its convolutions' weights, by name, each changed a little. Random: from torch's global generators."""
        kernels = {name: weight for name, weight in self.net.named_parameters() if weight.ndim == 4}
        return {name: weight * (1 + WEIGHT_NOISE * noise_like(weight)) for name, weight in kernels.items()}

    def features(self, x: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
        """Of pictures (B, 3, H, W), 0..1: unit vectors at each place of each layer. `weights`: in place of its own."""
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        outputs = functional_call(self.net, weights, (self.scaling(2 * x - 1),))
        return [F.normalize(output.float(), dim=1, eps=1e-8) for output in outputs]


class Critic(nn.Module):
    """LPIPS and a Wasserstein distortion in the same features, over one `Trunk` or the mean of several, and `Cortex`.

    ::

        x_hat, x ─┬─ trunks ─ unit vectors f_hat, f of each layer ─┬─ |f_hat - f|^2 ────────────────(+)─► likeness
                  │                                               └─ local means and spreads, compared ─► texture
                  └─ cortex ─ |c_hat - c|^2 ─────────────────────────────────────────────────────────┘

    The texture term is the 2-Wasserstein distance of Gaussians fitted, channel by channel, to the features in
    windows (Ballé et al., arXiv 2412.00505, there over VGG): grass may be other grass. Weights of channels are
    LPIPS's, so that both terms share a scale: with windows of one position they would be equal.

    A decoder learns to exploit one network: half of what it gained by SqueezeNet's LPIPS was nothing by AlexNet's.
    `anew` is therefore perturbed: it transforms each pair at random (as E-LPIPS does, Kettunen et al., arXiv
    1906.03973), adds the same noise to both, and adds noise to the trunk's weights (both ours).
    The model of V1, which has no trained weights, counts as well; and a second network does more than doubts of one.

    Training only; figures are reported with AlexNet, which no loss has seen.
    """

    def __init__(self, *trunks: Path) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(Trunk(weights) for weights in trunks)
        self.cortex = Cortex()

    def forward(self, x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compare pictures (B, 3, H, W), 0..1: likeness (0 is equal) and texture, (B,) each."""
        return self._compare(x_hat, x, doubting=False)

    def anew(self, x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, of both pictures turned, shifted, their colours swapped and, every other time, halved in size.

        Under noise, and with the trunk's weights changed. Random: from torch's global generators.
        """
        across, down, turn, swap, halve = (int(torch.randint(n, ())) for n in (8, 8, 8, 6, 2))
        views = []
        for picture in (x_hat, x):
            view = picture[:, list(permutations(range(3)))[swap], down:, across:]
            view = view.flip([axis + 2 for axis in range(2) if turn >> axis & 1])
            view = view.transpose(2, 3) if turn & 4 else view
            views.append(F.avg_pool2d(view, 2) if halve and min(x.shape[2:]) >= HALVED else view)
        error = (x_hat.detach() - x).square().mean((1, 2, 3), keepdim=True).sqrt()
        sigma = (GRAIN_OF_ERROR * error).clamp_max(GRAIN) * torch.rand(len(x), 1, 1, 1).to(x.device)
        grain = sigma * torch.randn_like(views[1])
        return self._compare(views[0] + grain, views[1] + grain, doubting=True)

    def _compare(self, x_hat: Tensor, x: Tensor, *, doubting: bool) -> tuple[Tensor, Tensor]:
        same, texture = CORTEX * self.cortex.distance(x_hat, x), torch.zeros(len(x), device=x.device)
        for trunk in self.trunks:
            assert isinstance(trunk, Trunk)
            weights = trunk.doubted() if doubting else {}
            with torch.no_grad():
                targets = trunk.features(x, weights)
            layers = zip(trunk.features(x_hat, weights), targets, trunk.heads, trunk.cells, strict=True)
            for f_hat, f, head, cell in layers:
                weight = head / len(self.trunks)
                same = same + _weighed((f_hat - f).square(), weight)
                texture = texture + _weighed(_wasserstein(f_hat, f, cell), weight)
        return same, texture


def natural_losses(critic: Critic, x_hat: Tensor, x: Tensor) -> tuple[Tensor, dict[str, float]]:
    """What a decoder for natural pictures is trained with, of each of (B, 3, H, W), 0..1; and figures for the record.

    Likeness, texture, a little L1, and no grid: (B,). MoDE-P and the fuser share it: what one may do, the other may.
    """
    same, texture = critic.anew(x_hat, x)
    repeated = grid(x_hat - x)
    losses = L1 * (x_hat - x).abs().mean((1, 2, 3)) + same + TEXTURE * texture + GRID * repeated
    return losses, {
        "psnr": psnr(x_hat, x), "likeness": same.mean().item(), "texture": texture.mean().item(),
        "grid": repeated.mean().item(),
    }  # fmt: skip


def noise_like(weight: Tensor) -> Tensor:
    """Standard normal, as a kernel in channels-last memory is: `torch.randn_like` takes five times as long there."""
    out, channels, height, width = weight.shape
    return torch.randn(out, height, width, channels, device=weight.device).permute(0, 3, 1, 2)


def grid(error: Tensor) -> Tensor:
    """What of an error (B, 3, H, W) repeats every PERIOD pixels, its mean square (B,); H and W at least 64.

    Texture that a decoder makes up costs it the least as one pattern for all blocks. No trunk sees that, people do.
    Means of what does not repeat are not nothing either: that much is free, or all error would cost.
    """
    phases = F.pixel_unshuffle(error, PERIOD)
    local = F.avg_pool2d(phases, PERIOD, stride=PERIOD // 2)
    local = local.view(len(error), error.shape[1], -1, *local.shape[2:])
    repeated = (local - local.mean(2, keepdim=True)).square().mean((1, 2, 3, 4))
    return F.relu(repeated - error.square().mean((1, 2, 3)) / PERIOD**2)


def _weighed(differences: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(differences, weight).mean((1, 2, 3))


def _wasserstein(f_hat: Tensor, f: Tensor, cell: int) -> Tensor:
    means, spreads = [], []
    for features in (f_hat, f):
        mean, square = (_windows(F.avg_pool2d(part, cell)) for part in (features, features * features))
        means.append(mean)
        spreads.append((square - mean * mean).clamp_min(1e-6).sqrt())
    return (means[0] - means[1]).square() + (spreads[0] - spreads[1]).square()


def _windows(cells: Tensor) -> Tensor:
    return F.avg_pool2d(cells, min(WINDOW, *cells.shape[2:]), stride=1)
