"""How long a drag of tau takes until the picture is there, in a real browser.

python tests/lab/drag.py FILES.nic...     a table; needs Chromium, and the packages playwright and werkzeug
"""

from __future__ import annotations

import shutil
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from nicodec.errors import MissingPartError
from nicodec.look.server import STATIC, Page, address, serve
from nicodec.look.session import Session

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TAUS = (0.2, 0.9, 0.4, 0.7, 0.55)
IDLE = "document.getElementById('stage').getAttribute('aria-busy') === 'false'"
MOVE = "tau => { const e = document.getElementById('tau'); e.value = tau; e.dispatchEvent(new Event('input')); }"


def measure(page: Any, data: bytes) -> dict[str, float]:
    """Seconds of a file's live page, an opened one of a browser, with the whole picture in the window.

    Returns:
        `open`: until the first picture is there. `first`: from the first move of tau to the first piece of its
        picture; `whole`: to all of it. `drag`, `drag_whole`: medians of later moves, when the fuser's work is done.
    """
    shown = Page(Session(data), "it", None)
    server = serve(shown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.goto(address(server, shown.token))
        page.wait_for_function(IDLE, timeout=0)
        found = {"open": _milliseconds(page, "all")}
        moves = []
        for tau in TAUS:
            page.evaluate("delete document.body.dataset.first")
            page.evaluate(MOVE, tau)
            page.wait_for_function(IDLE, timeout=0)
            whole = _milliseconds(page, "all")
            moves.append((_milliseconds(page, "first", whole), whole))
        firsts, wholes = zip(*moves[1:], strict=True)
        found |= {"first": moves[0][0], "whole": moves[0][1]}
        return found | {"drag": statistics.median(firsts), "drag_whole": statistics.median(wholes)}
    finally:
        server.shutdown()
        server.server_close()


def _milliseconds(page: Any, name: str, otherwise: float = 0) -> float:
    """What the page measured, as seconds; `otherwise`: the picture is small, and its first piece is all of it."""
    value = page.evaluate(f"document.body.dataset.{name}")
    return otherwise if value is None else float(value) / 1000


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of a headless Chromium.

    Raises:
        MissingPartError: there is no Chromium on the PATH.
    """
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise MissingPartError(f"none of {', '.join(BROWSERS)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def main(paths: list[Path]) -> None:
    """Print the table, and what the page itself weighs."""
    from nicodec import read_info

    print("| picture | open s | first move: piece, all s | later moves: piece, all s |\n|---|---|---|---|")
    with browser_page() as page:
        for path in paths:
            info, found = read_info(path), measure(page, path.read_bytes())
            cells = [f"{path.name}, {info['width']}x{info['height']}", f"{found['open']:.2f}"]
            cells += [f"{found[a]:.2f}, {found[b]:.2f}" for a, b in (("first", "whole"), ("drag", "drag_whole"))]
            print(f"| {' | '.join(cells)} |", flush=True)
    weight = sum(len(files("nicodec.look").joinpath(name).read_bytes()) for name in STATIC)
    print(f"\nThe page itself: {weight} bytes.")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
