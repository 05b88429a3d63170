"""The `nicodec` command: options that every command shares, errors to exit codes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from nicodec import __version__
from nicodec.cli.messages import complain
from nicodec.cli.streams import is_file
from nicodec.errors import FULL, InputError, MissingPackageError, NicodecError, OutOfMemoryError, OutputError

EXTRAS = {"torch": "torch", "compressai": "foreign", "lpips": "metrics", "onnx": "train",
          "fsspec": "scale", "pyarrow": "scale", "ray": "scale"}  # what brings a package  # fmt: skip
COMMANDS = (
    "encode", "decode", "restore", "info", "verify", "batch", "view", "compare", "desktop", "conformance", "models",
    "dictionary", "train", "bench",
)  # fmt: skip


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that `info` and `--help` start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nicodec.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`nicodec a.png` is `nicodec encode a.png -o .`, and `nicodec a.nic` decodes: the output lies beside."""
        if args[0] not in COMMANDS and is_file(args[0]):
            beside = ["-o", str(Path(args[0]).parent)]  # first, so that an output that is named wins, however it is
            args = ["decode" if args[0].lower().endswith(".nic") else "encode", *beside, *args]
        elif args[0] not in COMMANDS and Path(args[0]).suffix:
            raise InputError(f"there is no file {args[0]}, nor a command of that name")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Left to itself, click would end with 1 when the reader of a pipe goes away."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_stdout()
            sys.exit(141)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nicodec")
def main() -> None:
    """A learned image codec with real bitstreams: pictures to .nic files and back.

    nicodec PICTURE encodes to a .nic file beside it, nicodec FILE.nic decodes to a PNG.
    """


def run() -> None:
    """Entry point: runs the command, prints errors in one line, exits with the error's code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed on the way out
    try:
        main(prog_name="nicodec", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        _refuse(error)
    except NicodecError as error:
        with contextlib.suppress(OSError):  # stderr may be closed, or full as well
            complain(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory", OutOfMemoryError.exit_code)
    except Exception as error:  # a defect of ours: still one line, the traceback on demand
        if isinstance(error, OSError) and error.errno in FULL:
            _forget_stdout()
            _fail(f"cannot write to stdout: {error.strerror}", OutputError.exit_code)
        if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) in EXTRAS:
            advice = f"this takes {package}, which is not installed: pip install 'nicodec[{EXTRAS[package]}]'"
            _fail(advice, MissingPackageError.exit_code)
        if os.environ.get("NICODEC_TRACEBACK"):
            traceback.print_exc()
        _fail(f"internal error: {error!r}; please report it (NICODEC_TRACEBACK=1 shows where)", 1)


def _refuse(error: click.ClickException) -> None:
    if "--json" in sys.argv:
        _fail(error.format_message(), error.exit_code)
    error.show()
    sys.exit(error.exit_code)


def _fail(message: str, code: int) -> None:
    as_json = json.dumps({"error": message, "exit_code": code})
    with contextlib.suppress(OSError):
        click.echo(as_json if "--json" in sys.argv else f"nicodec: error: {message}", err=True)
    sys.exit(code)


def _forget_stdout() -> None:
    """What is left in stdout's buffer goes nowhere: the interpreter's last flush must not fail too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
