"""Options that several commands have in common, and what `--threads` does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nicodec.container.limits import DEFAULT_MAX_PIXELS, FREE_DRAWN, FREE_PIXELS, PIXELS_A_BYTE
from nicodec.options import ENGINES
from nicodec.threads import thread_limits

F = TypeVar("F", bound=Callable[..., Any])


def common_options(function: F) -> F:
    """Options of all commands that work on files: what they report, and with how many threads."""
    for option in (
        click.option("--threads", type=click.IntRange(1, 256), help="CPU threads, 1..256. Default: one a core."),
        click.option(
            "--json", "as_json", is_flag=True, help="Report as a line of JSON a file, warnings and errors too."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Report more: where the bytes and the seconds go."),
        click.option("--quiet", is_flag=True, help="Report nothing but errors."),
    ):
        function = option(function)
    return function


def engine_options(function: F) -> F:
    """Options of all commands that run networks and no training: who runs them, and where."""
    function = click.option(
        "--engine", type=click.Choice(ENGINES), default=ENGINES[0], show_default=True,
        help="What runs them: onnx (CPU), torch; auto: torch with --device cuda, or where a model has no graphs.",
    )(function)  # fmt: skip
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
        help="Where the float networks run. The entropy path always runs on the CPU.",
    )(function)  # fmt: skip


def data_option(what: str) -> Callable[[F], F]:
    """`--data`: folders of pictures; `what` says of which."""
    return click.option(
        "--data", "folders", required=True, multiple=True, metavar="DIR",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help=f"{what}, searched below DIR; may be given several times.",
    )  # fmt: skip


def max_pixels_option(function: F) -> F:
    """The option of all commands that work on the symbols of a file: it limits what that may take."""
    return click.option(
        "--max-pixels", type=click.IntRange(1), metavar="N",
        help=f"Refuse files that declare more pixels, 1 ... Default: {DEFAULT_MAX_PIXELS}, and at most {FREE_PIXELS} "
        f"({FREE_DRAWN} where all is drawn) and {PIXELS_A_BYTE} for each byte of the file: a small file can ask for "
        "much time and memory.",
    )(function)  # fmt: skip


def set_threads(threads: int | None) -> None:
    """Limit the threads of the numeric libraries; must run before they are loaded.

    OpenBLAS has one of its own: its products are small here, and more of them wait for work by taking cores from the
    networks, which makes an encode a quarter longer.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if threads is not None:
        os.environ.update(thread_limits(threads))
