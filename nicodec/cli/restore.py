"""`nicodec restore`: `encode --base jpeg` and `decode --tau` in one, without a file between."""

from __future__ import annotations

import click

from nicodec.cli import flags, streams
from nicodec.cli.decode import FORMATS, Decoding, Taus, run_one
from nicodec.cli.inputs import Inputs
from nicodec.container.layout import JPEG
from nicodec.errors import UnsupportedPictureError
from nicodec.options import DecodeOptions, EncodeOptions


class Restoring(Decoding):
    """What is done to each JPEG."""

    def read(self, source: str) -> tuple[bytes, int, tuple[str, ...]]:
        """The .nic file that keeps it, its bytes, and what of it that file does not show."""
        data = streams.read_input(source)
        if not data.startswith(b"\xff\xd8"):
            raise UnsupportedPictureError("the input is no JPEG file, and only those can be restored")
        from nicodec.codec import encode_picture
        from nicodec.image.files import read_picture

        picture = read_picture(data)
        return encode_picture(picture, EncodeOptions(base=JPEG)), len(data), picture.notes


@click.command("restore")
@click.argument("source", required=False, type=click.Path(), metavar="[PHOTO.jpg]")
@click.option("-o", "--output", type=click.Path(), metavar="PICTURE",
              help="Where to write, as `decode` does; - is stdout. Default: stdout, if piped.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(FORMATS),
              help="Format to write, whatever the name. Default: by the output's suffix; png on stdout.")  # fmt: skip
@click.option("--tau", "taus", type=Taus(), default="0", show_default=True, metavar="0..1",
              help="0: as close to the original as can be; 1: as natural as can be; between: between. Several, such as "
              "0,0.5,1, need {tau} in the output's name.")  # fmt: skip
@click.option("--seed", type=int, help="Of the texture's noise, 0 .. 2^64-1. Default: from the JPEG.")
@flags.engine_options
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@flags.common_options
def command(
    source: str | None, output: str | None, kind: str | None, taus: tuple[float, ...], seed: int | None, device: str,
    engine: str, force: bool, threads: int | None, as_json: bool, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Restore PHOTO.jpg (- is stdin): without its blocks, and with the texture that it lost.

    It takes an installed model with a restorer part, as the default one has. Metadata are kept.
    """
    options = DecodeOptions(taus=taus, seed=seed, device=device, engine=engine, restored=True)
    restoring = Restoring(options, f".{kind}" if kind else None, (), False, force, verbose, False)
    given = Inputs(() if source is None else (source,), output)
    run_one(restoring, given, threads, as_json=as_json, quiet=quiet)
