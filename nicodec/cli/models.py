"""`nicodec models`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nicodec.training.data import Pictures


@click.group("models")
def command() -> None:
    """List and show the installed models; make one from a training run."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a model.")
def list_models(as_json: bool) -> None:
    """One line a model: name, parts with their ids, summary."""
    from nicodec.cli import messages
    from nicodec.options import DEFAULT_MODEL
    from nicodec.zoo.store import packages

    broken: list[str] = []
    for package in packages(broken):
        ids = {kind: part.id.hex() for kind, part in package.parts.items()}
        if as_json:
            click.echo(json.dumps({"name": package.name, "summary": package.summary, "parts": ids}))
        else:
            default = " (default)" if package.name == DEFAULT_MODEL else ""
            parts = ", ".join(f"{kind} {id_}" for kind, id_ in ids.items())
            click.echo(f"{package.name}{default}: {parts}; {' '.join(package.summary.split())}")
    messages.warn(tuple(broken), quiet=False)


@command.command("show")
@click.argument("name")
def show_model(name: str) -> None:
    """The parts of model NAME: id, size, path, and whether the content has the id that it should."""
    from nicodec.zoo.store import find_package

    package = find_package(name)
    click.echo(f"{package.name}: {package.summary}")
    for kind, part in package.parts.items():
        click.echo(f"  {kind} {part.id.hex()}: {len(part.read())} bytes, content as its id says, {part.path}")
    card = package.folder / "card.md"
    if card.is_file():
        click.echo(f"  card: {card}")


@command.command("fetch")
@click.argument("name", metavar="compressai:ARCHITECTURE-qN")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="models/NAME",
              help="Folder of the package; its last part is the model's name.")  # fmt: skip
@click.option("--from", "source", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="The file that CompressAI publishes, if it is at hand. Default: download it.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
def fetch_model(name: str, output: Path, source: Path | None, force: bool) -> None:
    """Make a package of CompressAI's weights, to use with `encode --base` and to train a fuser on.

    The only command that may use a network.
    """
    from nicodec.errors import OutputExistsError
    from nicodec.foreign.fetch import fetch

    if (output / "base.safetensors").exists() and not force:
        raise OutputExistsError(f"{output} holds a base already; use -f to overwrite it")
    fetch(name, output, source)
    click.echo(f"{output}: written", err=True)


@command.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="models/NAME",
              help="Folder of the package; its last part is the model's name.")  # fmt: skip
@click.option("--summary", default="exported from a training run", show_default=True, help="One line for the manifest.")
@click.option("--data", "folders", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              metavar="DIR", help="Training pictures to measure the probability tables on (stage sq; files get about "
              "2 % smaller than with Gaussian tables), or to train the prior of the tokens on (stage vq).")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
def export_model(run: Path, output: Path, summary: str, folders: tuple[Path, ...], force: bool) -> None:
    """Make of the training run in folder RUN a package (stages sq and foreign), or a part of the package there.

    With the graphs that onnxruntime runs.

    Stages vq, mode, fuser, restorer and trust are parts; stage clc gives the dictionary there its adapters, and so
    another id.
    """
    from nicodec.errors import OutputExistsError
    from nicodec.training.export import KINDS, stage_of
    from nicodec.training.graphs import write_graphs

    kind = KINDS.get(stage := stage_of(run), stage)
    if (output / f"{kind}.safetensors").exists() and not force:
        raise OutputExistsError(f"{output} holds a {kind} part; use -f to overwrite it")
    export(run, output, summary, folders)
    write_graphs(output, [kind])
    click.echo(f"{output}: written", err=True)


@command.command("graphs")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="models/NAME")
def write_model_graphs(folder: Path) -> None:
    """Make the graphs of the networks of the package in FOLDER, which onnxruntime runs; its parts stay as they are.

    `models export` and plans make them: this is for older packages, and where a network's code has changed. Without
    graphs a package needs torch.
    """
    from nicodec.training.graphs import write_graphs

    write_graphs(folder)
    click.echo(f"{folder}: graphs written", err=True)


def export(
    run: Path, output: Path, summary: str, folders: Sequence[Path], side: int | None = None, **options: int
) -> None:
    """Make of a run the package `output`, or a part of it; what was there is overwritten.

    Args:
        folders: of training pictures, if they are to be used.
        side: pixels, of the crops of them that are coded.
        options: `count` of these crops (stage sq); `steps` batches of `batch` that the prior is trained on (stage vq).

    Raises:
        TrainingRunError: it is of a stage that is needed in training only.
    """
    import torch

    from nicodec.errors import TrainingRunError
    from nicodec.training.data import training_pictures
    from nicodec.training.export import stage_of

    exports: dict[str, Callable[..., None]] = {
        "sq": _export_sq, "vq": _export_vq, "mode": _export_mode, "fuser": _export_fuser, "clc": _export_clc,
        "restorer": _export_restorer, "trust": _export_trust, "foreign": _export_foreign,
    }  # fmt: skip
    if (stage := stage_of(run)) not in exports:
        raise TrainingRunError(f"{run} holds a run of stage {stage}, which is needed in training only")
    least = side or (512 if stage == "sq" else 256)
    pictures = training_pictures(folders, torch.device("cpu"), least) if folders else None
    exports[stage](run, output, summary, pictures, **options)


def _export_sq(run: Path, output: Path, summary: str, pictures: Pictures | None, **options: int) -> None:
    from nicodec.entropy.tables import gaussian_tables
    from nicodec.training.export import export_base, load_run
    from nicodec.training.tables import measure_tables

    codec = load_run(run)
    gaussian = (gaussian_tables(),) * codec.base.config.tunes
    export_base(codec, output, summary, measure_tables(codec, pictures, **options) if pictures else gaussian)


def _export_vq(run: Path, output: Path, summary: str, pictures: Pictures | None, **options: int) -> None:
    from nicodec.errors import TrainingDataError
    from nicodec.latents.geometry import PATCH
    from nicodec.networks.vq import VQConfig, VQExpert
    from nicodec.training.export import export_vq, load_module
    from nicodec.training.tokens import TokenNet, integer_prior, tokeniser, train_prior
    from nicodec.zoo.load import load_base, load_scales
    from nicodec.zoo.manifest import read_manifest

    if pictures is None:
        raise TrainingDataError("the prior of the tokens is trained at export: give training pictures with --data")
    vq = load_module(run, "vq", lambda config: VQExpert(VQConfig(**config)))
    vq.codebook.sort_as_tree()
    part = read_manifest(output / "model.toml").parts["base"]
    base, config = load_base(part, "cpu"), vq.config
    net = TokenNet(base.config, config.stride // PATCH, config.bits)
    static = train_prior(base, net, tokeniser(base, vq), pictures, side=min(256, pictures.least), **options)
    export_vq(vq, integer_prior(net, static, load_scales(part).magnitude), output)


def _export_mode(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from nicodec.networks.mode import MoDE, MoDEConfig
    from nicodec.training.export import export_network, load_module

    export_network("mode", load_module(run, "mode", lambda config: MoDE(MoDEConfig(**config))), output)


def _export_fuser(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from nicodec.networks.fuser import Denoiser, FuserConfig
    from nicodec.training.export import export_network, load_module

    export_network("fuser", load_module(run, "fuser", lambda config: Denoiser(FuserConfig(**config))), output)


def _export_restorer(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from nicodec.networks.restorer import Restorer, RestorerConfig
    from nicodec.training.export import export_network, load_module

    export_network("restorer", load_module(run, "restorer", lambda config: Restorer(RestorerConfig(**config))), output)


def _export_trust(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from nicodec.networks.trust import TrustConfig
    from nicodec.training.export import export_network, load_module
    from nicodec.training.trust import Trusting

    export_network("trust", load_module(run, "trust", lambda config: Trusting(TrustConfig(**config))).trust, output)


def _export_foreign(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from dataclasses import asdict

    from nicodec.foreign.adapters import ForeignBase
    from nicodec.foreign.fetch import write_package
    from nicodec.training.export import load_module
    from nicodec.training.foreign import ForeignConfig, build

    model = load_module(run, "foreign", lambda config: build(ForeignConfig(**config)))
    write_package(ForeignBase(**asdict(model.config), state=model.state_dict()), output, summary)


def _export_clc(run: Path, output: Path, summary: str, pictures: Pictures | None) -> None:
    from nicodec.networks.clc import CLC, CLCConfig
    from nicodec.training.export import export_dictionary, load_module
    from nicodec.zoo.load import dictionary_of, load_base
    from nicodec.zoo.manifest import read_manifest

    package = read_manifest(output / "model.toml")
    dictionary, base = dictionary_of(package), load_base(package.parts["base"], "cpu")
    clc = load_module(run, "clc", lambda config: CLC(CLCConfig(**config), base))
    export_dictionary(dictionary, output, clc)
