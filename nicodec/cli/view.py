"""`nicodec view`."""

from __future__ import annotations

import webbrowser
from importlib.util import find_spec
from pathlib import Path

import click

from nicodec.cli import flags, streams
from nicodec.errors import UsageError


@click.command("view")
@click.argument("source", type=click.Path(), metavar="FILE.nic")
@click.option("--original", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PICTURE",
              help="What FILE.nic was made of, to show beside it; also AVIF, JPEG and WebP of its size.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True,
              help="0..65535; 0 is any free one.")  # fmt: skip
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
@flags.engine_options
@flags.max_pixels_option
def command(
    source: str, original: Path | None, port: int, browser: bool, device: str, engine: str, max_pixels: int | None
) -> None:
    """Show FILE.nic on a local web page: anchors and tau with live pictures, beside the original. Ctrl-C ends it.

    The page is served to this machine only (127.0.0.1), at an address with a random token, which no other page and no
    other user knows.
    """
    if find_spec("werkzeug") is None:
        raise UsageError("view needs werkzeug: install nicodec with its extra, nicodec[view]")
    data = streams.read_input(source)
    from nicodec.image.files import read_picture
    from nicodec.look.server import Page, address, serve
    from nicodec.look.session import Session

    session = Session(data, device, max_pixels, engine, Path(source).parent)
    picture = read_picture(original.read_bytes()) if original else None
    if picture and (picture.width, picture.height) != (session.whole.width, session.whole.height):
        raise UsageError(
            f"the original is {picture.width}x{picture.height}, but {source} is "
            f"{session.whole.width}x{session.whole.height}"
        )
    page = Page(session, Path(source).name, picture)
    server = serve(page, port)
    click.echo(f"{source}: shown at {address(server, page.token)} until Ctrl-C", err=True)
    if browser and page.ticket:
        webbrowser.open(address(server, page.ticket))
    server.serve_forever()
