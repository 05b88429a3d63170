"""`nicodec train`."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nicodec.cli.sizes import Finite

if TYPE_CHECKING:
    from nicodec.training.latents import Latents
    from nicodec.training.loop import Stage

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("train")
def command() -> None:
    """Train the parts of a model."""


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that all stages share."""
    for option in reversed([
        click.option("--data", "folders", required=True, multiple=True, type=FOLDER, metavar="DIR",
                     help="Training pictures, searched below DIR; may be given several times."),
        click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Folder of the run."),
        click.option("--validation", type=FOLDER, metavar="DIR",
                     help="Held-out pictures; their figures go to RUN/validation.jsonl."),
        click.option("--init", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="WEIGHTS",
                     help="Start from another run's state.pt, or from a safetensors file."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
        click.option("--steps", type=click.IntRange(1), default=20_000, show_default=True,
                     help="Length of the schedule."),
        click.option("--minutes", type=Finite(min=0, min_open=True),
                     help="Length of the schedule by the clock, where that ends first."),
        click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Crops a step, at first."),
        click.option("--crop", type=click.IntRange(64), default=128, show_default=True,
                     help="Side of a crop at first, a multiple of 64; doubles twice."),
        click.option("--resume", is_flag=True, help="Go on with the run in RUN, from its last checkpoint."),
        click.option("--quiet", is_flag=True, help="No progress."),
    ]):  # fmt: skip
        function = option(function)
    return function


TRUNK = click.option(
    "--trunk", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="SqueezeNet 1.1 weights with torchvision's names, for LPIPS.",
)  # fmt: skip
MODEL = click.option("--model", required=True, metavar="NAME", help="Package whose parts stay frozen.")
WIDTHS = click.option("--width", "widths", multiple=True, metavar="NAME=N", help="A width or depth of the networks.")


@command.command("sq")
@WIDTHS
@run_options
def train_sq(widths: tuple[str, ...], **options: Any) -> None:
    """Train the base: g_a, g_s, hyperprior, means and scales, for all rates at once (widths: see BaseConfig).

    A checkpoint is written every few minutes and on SIGTERM or Ctrl-C.
    """
    from nicodec.networks.base import BaseConfig
    from nicodec.training.sq import SQStage

    config = BaseConfig(**_parse(widths, BaseConfig))
    _run(lambda _: SQStage(config), **options)


@command.command("vq")
@MODEL
@TRUNK
@WIDTHS
@run_options
def train_vq(model: str, trunk: Path, widths: tuple[str, ...], **options: Any) -> None:
    """Train the perception expert on a frozen base: tokenizer, codebook, painter (widths: see VQConfig)."""
    from nicodec.networks.base import BaseConfig
    from nicodec.networks.vq import SHARED, VQConfig
    from nicodec.training.critic import Critic
    from nicodec.training.vq import VQStage
    from nicodec.zoo.load import load_base, read_config
    from nicodec.zoo.store import find_package

    part = find_package(model).parts["base"]
    config = VQConfig.beside(BaseConfig(**read_config(part)), **_parse(widths, VQConfig, fixed=SHARED))
    _run(lambda device: VQStage(config, load_base(part, device), Critic(trunk).to(device)), **options)


@command.command("mode")
@MODEL
@TRUNK
@run_options
def train_mode(model: str, trunk: Path, **options: Any) -> None:
    """Train both anchors of MoDE, from copies of the experts; beside a fuser, if the model has one."""
    from nicodec.errors import MissingPartError
    from nicodec.training.critic import Critic
    from nicodec.training.mode import MoDEStage
    from nicodec.zoo.load import load_base, load_fuser, load_vq
    from nicodec.zoo.store import find_package

    parts = find_package(model).parts
    if "vq" not in parts:
        raise MissingPartError(f"model {model} has no vq part; train and export that first")
    _run(
        lambda device: MoDEStage(
            load_base(parts["base"], device),
            load_vq(parts["vq"], device),
            Critic(trunk).to(device),
            load_fuser(parts["fuser"], device) if "fuser" in parts else None,
        ),
        **options,
    )


@command.command("aux")
@MODEL
@TRUNK
@WIDTHS
@run_options
def train_aux(model: str, trunk: Path, widths: tuple[str, ...], **options: Any) -> None:
    """Train the auxiliary encoder: which latents a frozen base decodes to natural pictures (widths: see FuserConfig).

    It is needed to train a fuser, and never shipped.
    """
    from nicodec.networks.fuser import FuserConfig
    from nicodec.training.critic import Critic
    from nicodec.training.fuser import AuxStage

    def stage(device: str) -> Stage:
        base = _latents(model, device)
        chosen = _parse(widths, FuserConfig, fixed=base.widths.keys())
        return AuxStage(FuserConfig(**base.widths, **chosen), base, Critic(trunk).to(device))

    _run(stage, **options)


@command.command("fuser")
@MODEL
@TRUNK
@click.option("--aux", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN",
              help="A run of stage aux, on the same base.")  # fmt: skip
@run_options
def train_fuser(model: str, trunk: Path, aux: Path, **options: Any) -> None:
    """Train the fuser behind tau: a denoiser that leads y_hat to what the auxiliary encoder would have made."""
    from nicodec.networks.fuser import Denoiser, FuserConfig
    from nicodec.training.critic import Critic
    from nicodec.training.export import load_module
    from nicodec.training.fuser import FuserStage

    guide = load_module(aux, "aux", lambda config: Denoiser(FuserConfig(**config)))
    _run(
        lambda device: FuserStage(guide.config, _latents(model, device), guide.to(device), Critic(trunk).to(device)),
        **options,
    )


@command.command("clc")
@MODEL
@WIDTHS
@run_options
def train_clc(model: str, widths: tuple[str, ...], **options: Any) -> None:
    """Train what the references of a model's dictionary do to its frozen base (widths: see CLCConfig)."""
    from nicodec.cli.dictionary import dictionary_of
    from nicodec.networks.clc import CLCConfig
    from nicodec.training.clc import CLCStage
    from nicodec.zoo.load import load_base, load_scales
    from nicodec.zoo.store import find_package

    package = find_package(model)
    config = CLCConfig(**_parse(widths, CLCConfig))
    base, scales, dictionary = package.parts["base"], load_scales(package.parts["base"]), dictionary_of(package)
    _run(lambda device: CLCStage(config, load_base(base, device), scales, dictionary), **options)


def _latents(model: str, device: str) -> Latents:
    """The base of a package, ours or another codec's."""
    from nicodec.training.latents import ForeignLatents, OwnLatents
    from nicodec.zoo.load import is_foreign, load_base, load_foreign
    from nicodec.zoo.store import find_package

    part = find_package(model).parts["base"]
    return ForeignLatents(load_foreign(part, device)) if is_foreign(part) else OwnLatents(load_base(part, device))


def _run(
    make_stage: Callable[[str], Stage], folders: tuple[Path, ...], out: Path, validation: Path | None,
    init: Path | None, device: str, steps: int, minutes: float | None, batch: int, crop: int, resume: bool, quiet: bool,
) -> None:  # fmt: skip
    import torch

    from nicodec.cli import streams
    from nicodec.engines.torch import resolve_device
    from nicodec.training.data import Pictures
    from nicodec.training.loop import Run, Schedule

    if crop % 64:
        raise click.UsageError(f"--crop is {crop}, expected a multiple of 64")
    place = torch.device(resolve_device(device))
    schedule = Schedule(steps=steps, minutes=minutes, batch=batch, crop=crop)
    pictures = Pictures(folders, place, least=crop << len(schedule.doublings))
    held_out = Pictures([validation], place, least=512) if validation is not None else None
    streams.warn(tuple(pictures.unreadable), quiet)
    torch.manual_seed(schedule.seed)
    stage = make_stage(str(place))
    Run(stage, schedule, out, place, pictures, held_out, resume=resume, init=init, quiet=quiet).train()


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


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


# Of the fields of a config, by what they are declared as.
PARSERS: dict[Any, Callable[[str], Any]] = {
    "int": _whole, "float": _positive, "bool": {"True": True, "False": False}.__getitem__,
}  # fmt: skip
