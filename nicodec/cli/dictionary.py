"""`nicodec dictionary`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nicodec.cli import flags, messages, streams
from nicodec.cli.sizes import Finite
from nicodec.errors import InputError, NicodecError
from nicodec.options import DEFAULT_MODEL, QUALITY_RANGE

PICTURE_QUALITY = 75.0


@click.group("dictionary")
def command() -> None:
    """Make a dictionary of pictures that files can refer to, and show it."""


@command.command("build")
@flags.data_option("Pictures")
@click.option("--size", type=click.IntRange(1, 1 << 16), default=64, show_default=True, help="Pictures, at most.")
@click.option("-q", "--quality", type=Finite(*QUALITY_RANGE), default=PICTURE_QUALITY, show_default=True,
              help="Of the pictures in it.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE.nicdict", help="Where to write.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model package, see `nicodec models list`.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--quiet", is_flag=True, help="Report nothing but errors.")
def build_dictionary(
    folders: tuple[Path, ...], size: int, quality: float, output: str, model: str, force: bool, quiet: bool
) -> None:
    """Cluster pictures by what they look like, and keep the one nearest each centre as a .nic file."""
    streams.refuse_existing(output, force)
    from nicodec.codec import encode_picture
    from nicodec.container.dictionary import Dictionary, Entry, write_dictionary
    from nicodec.image.files import read_picture
    from nicodec.image.picture import Picture
    from nicodec.options import PICTURES, EncodeOptions
    from nicodec.references.build import clusters
    from nicodec.references.look import look

    paths = sorted({path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in PICTURES})
    kept, looks = [], []
    for path in paths:
        try:
            looks.append(look(read_picture(streams.read_input(str(path)), allow_8bit=True).pixels))
            kept.append(path)
        except NicodecError as error:
            messages.warn((f"{path}: {error}",), quiet)
    if not kept:
        raise InputError(f"no pictures found in {', '.join(map(str, folders))}")
    options, entries = EncodeOptions(quality, streams="sq", references="off", model=model), []
    for cluster in clusters(looks, size):
        pixels = read_picture(streams.read_input(str(kept[cluster.index])), allow_8bit=True).pixels
        entries.append(Entry(encode_picture(Picture(pixels), options), looks[cluster.index]))
    data = write_dictionary(Dictionary(tuple(entries)))
    streams.write_output(output, data, force)
    if not quiet:
        click.echo(f"{output}: {len(entries)} of {len(kept)} pictures, {len(data)} bytes", err=True)


@command.command("info")
@click.argument("source", type=click.Path(), metavar="FILE.nicdict")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def show_dictionary(source: str, as_json: bool) -> None:
    """The id of FILE.nicdict, and its pictures."""
    from nicodec.container.dictionary import read_dictionary
    from nicodec.container.reader import read_file
    from nicodec.references.library import content_id

    data = streams.read_input(source)
    pictures = []
    for index, entry in enumerate(read_dictionary(data).entries):
        header = read_file(entry.data).header
        pictures.append({"index": index, "width": header.width, "height": header.height, "bytes": len(entry.data)})
    facts = {"input": source, "id": content_id(data).hex(), "bytes": len(data), "pictures": pictures}
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"{source}: dictionary {facts['id']}, {len(pictures)} pictures, {len(data)} bytes")
    for picture in pictures:
        click.echo("  {index}: {width}x{height}, {bytes} bytes".format(**picture))
