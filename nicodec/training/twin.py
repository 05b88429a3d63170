"""What it costs that the scale path sees symbols only: the same scale networks, seeing y_hat instead, on the same base.

python -m nicodec.training.twin RUN TRAINING_DIR VALIDATION_DIR [STEPS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from nicodec.entropy.order import passes
from nicodec.training.data import Pictures
from nicodec.training.export import load_run
from nicodec.training.scales import Scales, gaussian_bits, magnitude
from nicodec.training.sq import SQCodec, insert, mask_of, random_rates


def compare(codec: SQCodec, pictures: Pictures, held_out: Pictures, steps: int, batch: int = 8) -> dict[str, float]:
    """Train two scale paths from the KLT start on one frozen base, on the same batches, for the same steps.

    Returns:
        Bits per pixel of y on held-out crops at rates over the whole range, for `symbols` (what we ship) and `y_hat`
        (the twin, which no exact decoder could have), and `cost_percent` of the first over the second.
    """
    config = codec.base.config
    twins = {
        name: Scales(config.latent, config.hyper, config.scale_context, config.slices) for name in ("symbols", "y_hat")
    }
    twins["y_hat"].load_state_dict(twins["symbols"].state_dict())
    for scales in twins.values():
        scales.start_from(codec.base.std.log(), codec.base.log_gain.detach())
    optimizers = {
        name: torch.optim.AdamW(scales.parameters(), lr=1e-3, betas=(0.9, 0.98)) for name, scales in twins.items()
    }
    size = min(256, pictures.least // 64 * 64)
    for step in range(steps):
        torch.manual_seed(step)
        rates = random_rates(batch)
        sample = _Sample(codec, pictures.batch(batch, size), rates)
        for name, scales in twins.items():
            for group in optimizers[name].param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)
            loss = sample.bits(scales, name).mean() / size**2
            optimizers[name].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(scales.parameters(), 1.0)
            optimizers[name].step()
    torch.manual_seed(0)
    totals = dict.fromkeys(twins, 0.0)
    with torch.no_grad():
        for rate in torch.linspace(1000, 64500, 16):
            sample = _Sample(codec, held_out.batch(4, size), rate.repeat(4))
            for name, scales in twins.items():
                totals[name] += sample.bits(scales, name).mean().item() / size**2 / 16
    return {**totals, "cost_percent": 100 * (totals["symbols"] / totals["y_hat"] - 1)}


class _Sample:
    """A batch through the frozen base: what both twins have to code."""

    def __init__(self, codec: SQCodec, x: Tensor, rates: Tensor) -> None:
        base = codec.base
        z_hat, symbols = base.analyse(x, rates)
        y_hat = base.reconstruct(z_hat, symbols, rates) / base.ungain(rates) / base.unit(rates)
        self.z_hat, self.symbols, self.y_hat = (t.clone() for t in (z_hat, symbols, y_hat))  # out of inference mode
        self.rates, self.config = rates, base.config

    def bits(self, scales: Scales, sees: str) -> Tensor:
        """Bits of y of each picture (B,) under a scale path that sees `symbols` or `y_hat`."""
        source = magnitude(self.symbols) if sees == "symbols" else self.y_hat
        features = scales.hyper(self.z_hat, self.rates)
        known = torch.zeros_like(source)
        total = torch.zeros(len(source))
        for step in passes(self.config.latent, self.config.slices):
            mask, part = mask_of(step, source), slice(step.start, step.stop)
            log_scale = scales.y(features, known, step, self.rates)
            total = total + (gaussian_bits(self.symbols[:, part], log_scale) * mask).sum((1, 2, 3))
            known = insert(known, source[:, part] * mask, part)
        return total


def main(run: str, training: str, validation: str, steps: str = "1000") -> None:
    """Print the figures as JSON."""
    cpu = torch.device("cpu")
    pictures, held_out = Pictures([Path(training)], cpu, 512), Pictures([Path(validation)], cpu, 512)
    print(json.dumps(compare(load_run(Path(run)), pictures, held_out, int(steps))))


if __name__ == "__main__":
    main(*sys.argv[1:])
