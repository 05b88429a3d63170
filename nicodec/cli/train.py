"""`nicodec train`."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("train")
def command() -> None:
    """Train the parts of a model."""


@command.command("sq")
@click.option("--data", "folders", required=True, multiple=True, type=FOLDER, metavar="DIR",
              help="Training pictures, searched below DIR; may be given several times.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Folder of the run.")
@click.option("--validation", type=FOLDER, metavar="DIR",
              help="Held-out pictures; their figures go to RUN/validation.jsonl.")  # fmt: skip
@click.option("--init", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="WEIGHTS",
              help="Start from an ema.safetensors of another run.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True, help="Length of the schedule.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
              help="Length of the schedule by the clock, where that ends first.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Crops a step, at first.")
@click.option("--crop", type=click.IntRange(64), default=128, show_default=True,
              help="Side of a crop at first, a multiple of 64; doubles twice.")  # fmt: skip
@click.option("--width", "widths", multiple=True, metavar="NAME=N",
              help="A width or depth of the networks, e.g. latent=192 (see BaseConfig).")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run in RUN, from its last checkpoint.")
@click.option("--quiet", is_flag=True, help="No progress.")
def train_sq(
    folders: tuple[Path, ...], out: Path, validation: Path | None, init: Path | None, device: str, steps: int,
    minutes: float | None, batch: int, crop: int, widths: tuple[str, ...], resume: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train the base: g_a, g_s, hyperprior, means and scales, for all rates at once.

    A checkpoint is written every few minutes and on SIGTERM or Ctrl-C.
    """
    import torch

    from nicodec.networks.base import BaseConfig
    from nicodec.networks.tiling import resolve_device
    from nicodec.training.data import Pictures
    from nicodec.training.loop import Run, Schedule
    from nicodec.training.sq import SQStage

    if crop % 64:
        raise click.UsageError(f"--crop is {crop}, expected a multiple of 64")
    place = torch.device(resolve_device(device))
    schedule = Schedule(steps=steps, minutes=minutes, batch=batch, crop=crop)
    pictures = Pictures(folders, place, least=crop << len(schedule.doublings))
    held_out = Pictures([validation], place, least=512) if validation is not None else None
    torch.manual_seed(schedule.seed)
    stage = SQStage(BaseConfig(**_parse(widths)))
    Run(stage, schedule, out, place, pictures, held_out, resume=resume, init=init, quiet=quiet).train()


def _parse(widths: tuple[str, ...]) -> dict[str, int]:
    from dataclasses import fields

    from nicodec.networks.base import BaseConfig

    known = {field.name for field in fields(BaseConfig)}
    parsed = {}
    for entry in widths:
        name, _, value = entry.partition("=")
        if name not in known or not value.isdigit():
            raise click.UsageError(f"--width {entry}: expected NAME=N with NAME one of {', '.join(sorted(known))}")
        parsed[name] = int(value)
    return parsed
