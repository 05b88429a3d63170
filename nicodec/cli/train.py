"""`nicodec train`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nicodec.cli import flags, messages
from nicodec.cli.pooled import command as dictionary
from nicodec.cli.sizes import Finite
from nicodec.cli.texture import command as texture

if TYPE_CHECKING:
    from nicodec.training.loop import Run, Schedule
    from nicodec.training.stages import Recipe

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("train")
def command() -> None:
    """Train the parts of a model."""


command.add_command(dictionary)
command.add_command(texture)

DATA = flags.data_option("Training pictures, or tars of them, which are streamed")
VALIDATION = click.option(
    "--validation", type=FOLDER, metavar="DIR", help="Held-out pictures; their figures go to RUN/validation.jsonl."
)
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                      help="Where to train; auto: on a GPU, if there is one.")  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="No progress.")


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that all stages share."""
    for option in reversed([
        DATA,
        click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Folder of the run."),
        VALIDATION,
        click.option("--init", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="WEIGHTS",
                     help="Start from another run's state.pt, or from what `train checkpoint` kept of it."),
        DEVICE,
        click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True,
                     help="Length of the schedule."),
        click.option("--minutes", type=Finite(min=0, min_open=True),
                     help="Length of the schedule by the clock, where that ends first."),
        click.option("--batch", type=click.IntRange(1), default=16, show_default=True,
                     help="Crops at a time, at first."),
        click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True,
                     help="Batches whose gradients make a step, where more crops do not fit into memory at once."),
        click.option("--crop", type=click.IntRange(64), default=128, show_default=True,
                     help="Side of a crop at first, a multiple of 64; doubles twice."),
        click.option("--resume", is_flag=True, help="Go on with the run in RUN, from its last checkpoint."),
        QUIET,
    ]):  # fmt: skip
        function = option(function)
    return function


TRUNK = click.option(
    "--trunk", "trunks", required=True, multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="SqueezeNet 1.1 or VGG-16 weights with torchvision's names, for LPIPS; several make a mean.",
)  # fmt: skip
MODEL = click.option("--model", required=True, metavar="NAME", help="Package whose parts stay frozen.")
WIDTHS = click.option("--width", "widths", multiple=True, metavar="NAME=N", help="A width or depth of the networks.")


@command.command("sq")
@WIDTHS
@click.option("--predecessor", metavar="NAME", help="Package whose base it starts as. Default: start from the KLT.")
@run_options
def train_sq(widths: tuple[str, ...], predecessor: str | None, **options: Any) -> None:
    """Train the base: g_a, g_s, hyperprior, means and scales, for all rates at once (widths: see BaseConfig).

    A checkpoint is written every few minutes and on SIGTERM or Ctrl-C.
    """
    from nicodec.networks.base import BaseConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    package = find_package(predecessor) if predecessor else None
    _run(stages.sq(_parse(widths, BaseConfig), package), **options)


@command.command("foreign")
@click.argument("name", metavar="compressai:ARCHITECTURE-qN")
@run_options
def train_foreign(name: str, **options: Any) -> None:
    """Train a model of CompressAI's, to use as a base: their lambda, and their noise in the place of rounding."""
    from nicodec.foreign.fetch import known
    from nicodec.training import stages

    architecture, quality = known(name)
    _run(stages.foreign({"architecture": architecture, "quality": quality}), **options)


@command.command("vq")
@MODEL
@TRUNK
@WIDTHS
@run_options
def train_vq(model: str, trunks: tuple[Path, ...], widths: tuple[str, ...], **options: Any) -> None:
    """Train the perception expert on a frozen base: tokenizer, codebook, painter (widths: see VQConfig)."""
    from nicodec.networks.vq import SHARED, VQConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.vq(find_package(model), trunks, _parse(widths, VQConfig, fixed=SHARED)), **options)


@command.command("mode")
@MODEL
@TRUNK
@run_options
def train_mode(model: str, trunks: tuple[Path, ...], **options: Any) -> None:
    """Train both anchors of MoDE, from copies of the experts; beside a fuser, if the model has one."""
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.mode(find_package(model), trunks), **options)


@command.command("aux")
@MODEL
@TRUNK
@WIDTHS
@click.option("--predecessor", metavar="NAME", help="Package whose fuser it starts as. Default: as the base's g_s.")
@run_options
def train_aux(
    model: str, trunks: tuple[Path, ...], widths: tuple[str, ...], predecessor: str | None, **options: Any
) -> None:
    """Train the auxiliary encoder: which latents a frozen base decodes to natural pictures (widths: see FuserConfig).

    It is needed to train a fuser, and never shipped.
    """
    from nicodec.networks.fuser import FuserConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    package = find_package(model)
    base = stages.latents(package, "cpu")
    fixed = base.widths.keys() | base.heard.keys()
    before = find_package(predecessor) if predecessor else None
    _run(stages.aux(package, trunks, _parse(widths, FuserConfig, fixed), before), **options)


@command.command("fuser")
@MODEL
@TRUNK
@click.option("--aux", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN",
              help="A run of stage aux, on the same base.")  # fmt: skip
@run_options
def train_fuser(model: str, trunks: tuple[Path, ...], aux: Path, **options: Any) -> None:
    """Train the fuser behind tau: a denoiser that leads y_hat to what the auxiliary encoder would have made."""
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.fuser(find_package(model), trunks, aux), **options)


@command.command("restorer")
@MODEL
@TRUNK
@WIDTHS
@run_options
def train_restorer(model: str, trunks: tuple[Path, ...], widths: tuple[str, ...], **options: Any) -> None:
    """Train what restores JPEGs, of quality 5 to 60, on a frozen base (widths: depths of RestorerConfig)."""
    from nicodec.networks.restorer import SHARED, RestorerConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.restorer(find_package(model), trunks, _parse(widths, RestorerConfig, fixed=SHARED)), **options)


@command.command("trust")
@MODEL
@WIDTHS
@run_options
def train_trust(model: str, widths: tuple[str, ...], **options: Any) -> None:
    """Train how far references are trusted, component by component, on a frozen base (width: see TrustConfig)."""
    from nicodec.networks.trust import SHARED, TrustConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.trust(find_package(model), _parse(widths, TrustConfig, fixed=SHARED)), **options)


@command.command("clc")
@MODEL
@WIDTHS
@run_options
def train_clc(model: str, widths: tuple[str, ...], **options: Any) -> None:
    """Train what the references of a model's dictionary do to its frozen base (widths: see CLCConfig)."""
    from nicodec.networks.clc import CLCConfig
    from nicodec.training import stages
    from nicodec.zoo.store import find_package

    _run(stages.clc(find_package(model), _parse(widths, CLCConfig)), **options)


@command.command("checkpoint")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.safetensors",
              help="What --init takes to go on from.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
def keep_checkpoint(run: Path, output: Path, force: bool) -> None:
    """Keep the averaged weights of the training run in folder RUN, a tenth of its checkpoint, without its optimiser."""
    from nicodec.errors import OutputExistsError, UsageError
    from nicodec.training.export import export_average

    if output.suffix != ".safetensors":
        raise UsageError(f"{output} is to be a safetensors file; give it that suffix")
    if output.exists() and not force:
        raise OutputExistsError(f"{output} exists already; use -f to overwrite it")
    step = export_average(run, output)
    click.echo(f"{output}: {output.stat().st_size} bytes, of step {step}", err=True)


@command.command("plan")
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PLAN.toml")
@DATA
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of the runs, and of the package: DIR/models/NAME.")  # fmt: skip
@VALIDATION
@click.option("--trunk", "trunks", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="SqueezeNet 1.1 or VGG-16 weights with torchvision's names, for stages that need a "
              "critic; several make a mean.")  # fmt: skip
@DEVICE
@QUIET
def train_plan(plan: Path, **place: Any) -> None:
    """Train all stages that a plan names, and make a package of them: from pictures to a model.

    The same command goes on where it was stopped, with what is left. Its end may be moved meanwhile, nothing else.
    """
    from nicodec.cli.plan import Place, carry_out
    from nicodec.training.plan import read_plan

    carry_out(read_plan(plan), Place(**place))


def _run(
    recipe: Recipe, steps: int, minutes: float | None, batch: int, accumulate: int, crop: int, **options: Any
) -> None:
    from nicodec.training.loop import Schedule

    schedule = Schedule(steps=steps, minutes=minutes, batch=batch, accumulate=accumulate, crop=crop)
    train(recipe, schedule, **options)


def train(
    recipe: Recipe, schedule: Schedule, folders: Sequence[Path], out: Path, validation: Path | None, device: str,
    resume: bool, quiet: bool, init: Path | None = None, saved: Callable[[], None] | None = None,
) -> Run:  # fmt: skip
    """Train a stage in the folder `out`, to the end of its schedule or until it is told to stop.

    Args:
        folders, validation: of training pictures and of held-out ones.
        init, saved: as `Run`.
    """
    import torch

    from nicodec.engines.torch import resolve_device
    from nicodec.training.data import Pictures, training_pictures
    from nicodec.training.loop import Run

    place = torch.device(resolve_device(device))
    if place.type == "cuda":  # each of several processes has a GPU of its own
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    pictures = training_pictures(folders, place, least=schedule.largest)
    held_out = Pictures([validation], place, least=512) if validation is not None else None
    messages.warn(tuple(pictures.unreadable), quiet)
    torch.manual_seed(schedule.seed)
    run = Run(
        recipe.build(str(place)), schedule, out, place, pictures, held_out, resume=resume, init=init, quiet=quiet,
        frozen=recipe.frozen, saved=saved,
    )  # fmt: skip
    run.train()
    return run


def _parse(widths: tuple[str, ...], config: type[Any], fixed: Set[str] = frozenset()) -> dict[str, Any]:
    from dataclasses import fields

    parsers = {field.name: PARSERS[field.type] for field in fields(config) if field.name not in fixed}
    parsed = {}
    for entry in widths:
        name, _, value = entry.partition("=")
        try:
            parsed[name] = parsers[name](value)
        except (KeyError, ValueError):
            raise click.UsageError(
                f"--width {entry}: expected NAME=N with NAME one of {', '.join(sorted(parsers))}"
            ) from None
    return parsed


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


# Of the fields of a config, by what they are declared as.
PARSERS: dict[Any, Callable[[str], Any]] = {
    "int": _whole, "float": _finite, "bool": {"True": True, "False": False}.__getitem__,
}  # fmt: skip
