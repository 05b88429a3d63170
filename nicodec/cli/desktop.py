"""`nicodec desktop`: what lets a Linux desktop know .nic files, in the user's own folders."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from nicodec.cli import messages, streams
from nicodec.container.layout import MAGIC, MIME_TYPE
from nicodec.errors import OutputError, UsageError, about

MIME_INFO = f"""<?xml version="1.0" encoding="UTF-8"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{MIME_TYPE}">
    <comment>nicodec picture</comment>
    <magic priority="80"><match type="string" offset="0" value="\\x{MAGIC[0]:02x}{MAGIC[1:].decode()}"/></magic>
    <glob pattern="*.nic"/>
  </mime-type>
</mime-info>
"""
THUMBNAILER = """[Thumbnailer Entry]
TryExec={program}
Exec={call} -m nicodec desktop thumbnail %i %o %s
MimeType={kind};
"""


@click.group("desktop")
def command() -> None:
    """Let a Linux desktop know .nic files: their type, and thumbnails of them."""


@command.command("install")
def install() -> None:
    """Write a MIME type and a thumbnailer into the user's data folder ($XDG_DATA_HOME, or ~/.local/share)."""
    data_home = _data_home()
    for path, content in _files(data_home).items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {path.parent}: {error.strerror or error}") from None
        streams.write_output(str(path), content.encode(), force=True)
        click.echo(f"wrote {path}", err=True)
    _update(data_home)


@command.command("remove")
def remove() -> None:
    """Remove what `install` wrote."""
    data_home = _data_home()
    there = [path for path in _files(data_home) if streams.kind_of(path)]
    if not there:
        click.echo(f"nothing to remove below {data_home}", err=True)
        return
    for path in there:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"cannot remove {path}: {error.strerror or error}") from None
        click.echo(f"removed {path}", err=True)
    _update(data_home)


@command.command("thumbnail")
@click.argument("source", type=click.Path(), metavar="FILE.nic")
@click.argument("output", type=click.Path(), metavar="OUT.png")
@click.argument("side", type=click.IntRange(1, 4096), metavar="SIDE")
def thumbnail(source: str, output: str, side: int) -> None:
    """Write a PNG of FILE.nic that fits SIDE x SIDE pixels, decoded at a scale near that: what the desktop calls."""
    data = streams.read_input(source)
    from nicodec.pillow import NicImageFile

    with about(source):
        image, buffer = NicImageFile(io.BytesIO(data), source), io.BytesIO()
        image.thumbnail((side, side))
        image.save(buffer, "PNG")
    streams.write_output(output, buffer.getvalue(), force=True)


def _files(data_home: Path) -> dict[Path, str]:
    """What is installed: contents by place."""
    program = sys.executable
    call = shlex.quote(program).replace("%", "%%")
    return {
        data_home / "mime" / "packages" / "nicodec.xml": MIME_INFO,
        data_home / "thumbnailers" / "nicodec.thumbnailer": THUMBNAILER.format(
            program=program, call=call, kind=MIME_TYPE
        ),
    }


def _data_home() -> Path:
    """The user's data folder.

    Raises:
        UsageError: this is no system with freedesktop's files.
    """
    if sys.platform in ("win32", "darwin"):
        raise UsageError(f"desktop files are for Linux and its relatives, this is {sys.platform}")
    named = os.environ.get("XDG_DATA_HOME", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "share"  # so the standard says


def _update(data_home: Path) -> None:
    """Tell the MIME database; where its tool is missing, the desktop does so itself, or reads the files as they are."""
    tool = shutil.which("update-mime-database")
    if tool is None:
        messages.warn(("update-mime-database is not installed, so the type is known once the system runs it",), False)
        return
    finished = subprocess.run([tool, str(data_home / "mime")], capture_output=True, text=True, check=False)
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or [f"it ended with {finished.returncode}"]
        raise OutputError(f"update-mime-database failed: {lines[-1]}")
