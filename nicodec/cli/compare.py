"""`nicodec compare`."""

from __future__ import annotations

import click

from nicodec.cli import streams
from nicodec.cli.decode import Taus
from nicodec.options import DEFAULT_STEPS, DecodeOptions


@click.command("compare")
@click.argument("sources", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="PAGE.html", help="The page to write.")
@click.option("--tau", "taus", type=Taus(), default="0,0.25,0.5,0.75,1", show_default=True, metavar="0..1,..",
              help="Taus that .nic files are decoded at, where a fuser is installed: 0 is closest to the "
              "original, 1 most natural.")  # fmt: skip
@click.option("--steps", type=int, default=DEFAULT_STEPS, show_default=True, metavar="1..8",
              help="Steps of the diffusion behind tau: 1, or more, which are slower and seldom better.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the float networks run.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
def command(
    sources: tuple[str, ...], output: str, taus: tuple[float, ...], steps: int, device: str, force: bool
) -> None:
    """Put FILEs (.nic or pictures, of one size) onto one HTML page that needs no server: split view, anchors, tau."""
    DecodeOptions(taus=taus, steps=steps)  # checks the ranges
    streams.refuse_existing(output, force)
    named = [(source, streams.read_input(source)) for source in sources]
    from nicodec.look.compare import compare

    page = compare(named, taus, steps, device).encode()
    streams.write_output(output, page, force)
    click.echo(f"{output}: {len(sources)} pictures, {len(page)} bytes", err=True)
