"""`nicodec models`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group("models")
def command() -> None:
    """List and show the installed models; make one from a training run."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a model.")
def list_models(as_json: bool) -> None:
    """One line a model: name, parts with their ids, summary."""
    from nicodec.options import DEFAULT_MODEL
    from nicodec.zoo.store import packages

    for package in packages():
        ids = {kind: part.id.hex() for kind, part in package.parts.items()}
        if as_json:
            click.echo(json.dumps({"name": package.name, "summary": package.summary, "parts": ids}))
        else:
            default = " (default)" if package.name == DEFAULT_MODEL else ""
            parts = ", ".join(f"{kind} {id_}" for kind, id_ in ids.items())
            click.echo(f"{package.name}{default}: {parts}; {package.summary}")


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


@command.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="models/NAME",
              help="Folder of the new package; its last part is the model's name.")  # fmt: skip
@click.option("--summary", default="exported from a training run", show_default=True, help="One line for the manifest.")
@click.option("--data", "folders", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              metavar="DIR", help="Training pictures to measure the probability tables on; files get about 2 % smaller "
              "than with Gaussian tables.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite a package.")
def export_model(run: Path, output: Path, summary: str, folders: tuple[Path, ...], force: bool) -> None:
    """Make a package of the training run in folder RUN: fp16 weights, integer scale path, tables, manifest."""
    import torch

    from nicodec.entropy.tables import gaussian_tables
    from nicodec.errors import OutputExistsError
    from nicodec.training.data import Pictures
    from nicodec.training.export import export_base, load_run
    from nicodec.training.tables import measure_tables

    if (output / "model.toml").exists() and not force:
        raise OutputExistsError(f"{output} holds a model; use -f to overwrite it")
    codec = load_run(run)
    tables = measure_tables(codec, Pictures(folders, torch.device("cpu"), least=512)) if folders else gaussian_tables()
    export_base(codec, output, summary, tables)
    click.echo(f"{output}: written", err=True)
