"""`nicodec train dictionary`: the pooled dictionaries of version 1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nicodec.cli import flags, streams


@click.group("dictionary")
def command() -> None:
    """Build a pooled dictionary of references, which version 1 of the format has, show it, and search it."""


@command.command("build")
@flags.data_option("Pictures")
@click.option("--size", type=click.IntRange(1, 1 << 17), default=1024, show_default=True,
              help="References, at most.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="models/NAME",
              help="Folder of the package that it becomes a part of; its base makes the latents.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
def build_dictionary(folders: tuple[Path, ...], size: int, output: Path, force: bool) -> None:
    """Cluster regions of pictures at three scales and keep the one nearest each centre, as latents."""
    from nicodec.errors import OutputExistsError

    if (output / "dictionary.safetensors").exists() and not force:
        raise OutputExistsError(f"{output} holds a dictionary already; use -f to overwrite it")
    references, pictures = build_into(output, folders, size)
    click.echo(f"{output}: {references} references of {pictures} pictures", err=True)


def build_into(output: Path, folders: Sequence[Path], size: int) -> tuple[int, int]:
    """Give the package `output` a dictionary; one that is there is overwritten.

    Returns:
        References, at most `size`, and the pictures that they are from.
    """
    import torch

    from nicodec.dictionary.build import build
    from nicodec.errors import MissingPartError
    from nicodec.training.data import Pictures
    from nicodec.training.export import export_dictionary
    from nicodec.zoo.load import is_foreign, load_base
    from nicodec.zoo.manifest import read_manifest

    part = read_manifest(output / "model.toml").parts["base"]
    if is_foreign(part):
        raise MissingPartError(f"{output} holds another codec's base; a dictionary is built on one of ours")
    pictures = Pictures(folders, torch.device("cpu"), least=1).pictures
    built = build(load_base(part, "cpu"), (pixels.permute(1, 2, 0).numpy() for pixels in pictures), size)
    export_dictionary(built, output)
    return len(built), len(pictures)


@command.command("info")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def show_dictionary(model: str, as_json: bool) -> None:
    """The dictionary of MODEL: id, size, bits an ID, at which scales its references were seen."""
    from nicodec.zoo.load import dictionary_of, has_adapters
    from nicodec.zoo.store import find_package

    package = find_package(model)
    dictionary = dictionary_of(package)
    part = package.parts["dictionary"]
    scales = {f"1/{1 << scale}": int((dictionary.scale == scale).sum()) for scale in sorted({*dictionary.scale})}
    facts = {
        "model": model, "id": part.id.hex(), "references": len(dictionary), "bytes": len(part.read()),
        "bits": dictionary.id_bits, "adapters": has_adapters(part), "scales": scales,
        "regions": int(dictionary.members.sum()),
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{model}: dictionary {facts['id']}: {facts['references']} references in {facts['bytes']} bytes, "
        f"{facts['bits']} bits an ID; they stand for {facts['regions']} regions of pictures"
    )
    if not facts["adapters"]:
        click.echo("  no adapters: it can be searched, but no file can refer to it before `nicodec train clc`")
    for scale, count in scales.items():
        click.echo(f"  {count} at {scale} of the picture's size")


@command.command("search")
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model whose dictionary is searched.")
@click.option("-n", "--count", type=click.IntRange(1), default=4, show_default=True, help="References to show.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a reference.")
def search_dictionary(picture: Path, model: str, count: int, as_json: bool) -> None:
    """The references most like PICTURE, and why: how much of the likeness is layout, how much texture."""
    from nicodec.dictionary.features import features_of
    from nicodec.image.files import read_picture
    from nicodec.latents.floats import load_float_path
    from nicodec.zoo.load import dictionary_of
    from nicodec.zoo.store import find_package

    package = find_package(model)
    dictionary = dictionary_of(package)
    pixels = read_picture(streams.read_input(str(picture)), allow_8bit=True).pixels
    features = features_of(pixels, load_float_path(package.parts["base"], "auto", "cpu"))
    for match in dictionary.search(features, count):
        scale, members = 1 << int(dictionary.scale[match.id]), int(dictionary.members[match.id])
        if as_json:
            fields = {"id": match.id, "likeness": match.likeness, "layout": match.layout, "texture": match.texture,
                      "scale": f"1/{scale}", "members": members}  # fmt: skip
            click.echo(json.dumps(fields))
            continue
        click.echo(
            f"{match.id}: likeness {match.likeness:.3f} = {match.layout:+.3f} layout "
            f"{match.texture:+.3f} texture; seen at 1/{scale} of its size, stands for {members} regions"
        )
