"""Screens as people save them, rendered in a real browser, and what they cost against AVIF.

python tests/lab/screens.py render PHOTOS OUT [--later]      ten kinds of windows, light and dark, with pictures of
    PHOTOS inside; or each, and as it is later: scrolled, and with two texts changed (for conditional.py versions)
python tests/lab/screens.py measure SCREENS --out results.json [--qualities 10,40,70]

Needs Chromium on the path. Figures are bytes of ours over AVIF's (Pillow's, default tune, speed 4, 4:4:4) at equal
SSIMULACRA2, log-linear between AVIF's qualities; a picture that is better than AVIF's best is compared with that.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from kinds import PROSE
from numpy.random import Generator
from PIL import Image
from points import Point, Results, pictures_in, pixels_of, table

import nicodec
from nicodec.bench.codecs import make
from nicodec.metrics.psnr import psnr
from nicodec.metrics.visible import ssimulacra2

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 1024, 640
LATER = "-later"
AVIF_QUALITIES = (20, 35, 50, 60, 70, 80, 88, 94, 98, 100)
THEMES = {
    "light": ("#ffffff", "#f0f2f5", "#1b1e22", "#6b7480", "#2f6fdb"),
    "dark": ("#1e1f22", "#2b2d31", "#dfe1e5", "#8a8f98", "#4f8ff0"),
}  # ground, panel, ink, dim, accent
STYLE = """
* {{ box-sizing: border-box }} body {{ margin: 0; background: {0}; color: {2}; font: 14px sans-serif }}
pre {{ font: 13px/1.45 monospace; margin: 0 }} .panel {{ background: {1} }} .dim {{ color: {3} }}
.accent {{ color: {4} }} .beside {{ display: flex; flex-wrap: wrap }} .pad {{ padding: 12px }} img {{ display: block }}
.beside:has(> .aside) {{ flex-wrap: nowrap }} .aside {{ flex: 0 0 200px; height: 640px }}
table {{ border-collapse: collapse; font-size: 13px }} td, th {{ border: 1px solid {1}; padding: 3px 8px }}
button {{ background: {4}; color: white; border: 0; border-radius: 6px; padding: 7px 16px; margin: 4px }}
.bubble {{ background: {1}; border-radius: 14px; padding: 8px 14px; margin: 6px; max-width: 60% }}
.tile {{ margin: 8px; width: 230px; border-radius: 8px }}
.slide {{ background: linear-gradient(#2a5d8f, #16324d); color: white }}
.small {{ margin: 10px; padding: 8px; font-size: 9px; height: 84px; width: 140px }}
.large {{ width: 780px; height: 480px; margin: 30px; padding: 40px; font-size: 24px }}
"""
BESIDE = "<div class='beside'>"
KEYWORDS = ("def ", "class ", "return", "import ", "from ", "for ", "if ", "with ", "raise ")


class Page:
    """What a window is filled with: words, numbers, and pictures in turn."""

    def __init__(self, photos: Sequence[Path], random: Generator) -> None:
        self.photos, self.random, self.words = cycle(photos), random, cycle(PROSE.split())

    def text(self, count: int) -> str:
        """So many words."""
        return " ".join(islice(self.words, count))

    def photo(self, width: int, height: int) -> str:
        """A photograph, filling its frame."""
        source = next(self.photos).resolve().as_uri()
        return f'<img src="{source}" style="width: {width}px; height: {height}px; object-fit: cover">'

    def number(self, most: int) -> int:
        """Any number below."""
        return int(self.random.integers(most))


def code(page: Page) -> str:
    """An editor: files on the left, a source with coloured keywords."""
    files = "<br>".join(sorted(path.name for path in (ROOT / "nicodec").glob("*.py")))
    source = (ROOT / "nicodec" / "codec.py").read_text(encoding="utf-8").splitlines()
    start, lines = page.number(60), []
    for number, line in enumerate(source[start:][:40], start + 1):
        shown = html.escape(line)
        for word in KEYWORDS:
            shown = shown.replace(word, f'<b class="accent">{word}</b>')
        lines.append(f'<span class="dim">{number:4} </span>{shown}')
    body = "\n".join(lines)
    return f"{BESIDE}<div class='panel pad aside'>{files}</div><pre class='pad'>{body}</pre></div>"


def terminal(page: Page) -> str:
    """A prompt, and what commands printed."""
    lines = ["<b>anna@desk</b>:~/pictures$ ls -l"]
    for name in sorted(path.name for path in ROOT.iterdir() if not path.name.startswith("."))[:9]:
        facts = f"{page.number(90_000):>7} Nov {page.number(28) + 1:2} 14:{page.number(60):02}"
        lines.append(f"-rw-r--r-- 1 anna users {facts} <b>{name}</b>")
    for index in range(1, 25):
        bar = f"<span class='dim'>[{'#' * round(index / 1.2):<20}]</span> {index / 24:4.0%}"
        lines.append(f"{bar} <span class='accent'>IMG_{page.number(9999):04}.jpg</span> {page.number(90_000)} bytes")
    return "<pre class='pad'>" + "\n".join([*lines, "<b>anna@desk</b>:~/pictures$ ▮"]) + "</pre>"


def spreadsheet(page: Page) -> str:
    """A table of names and numbers under a ribbon."""
    head = "".join(f"<th class='panel'>{letter}</th>" for letter in " ABCDEFGH")
    rows = []
    for row in range(1, 24):
        cells = "".join(f"<td align=right>{page.number(1_000_000) / 100:,.2f}</td>" for _ in range(6))
        named = f"<th class='panel'>{row}</th><td>{page.text(2)}</td><td class='accent'>{page.text(1)}</td>"
        rows.append(f"<tr>{named}{cells}</tr>")
    ribbon = "<div class='panel pad'><button>Save</button><button>Sum</button> fx = SUM(C1:C23)</div>"
    return f"{ribbon}<table><tr>{head}</tr>{''.join(rows)}</table>"


def mail(page: Page) -> str:
    """A list of letters, and one that is open, with a picture."""
    listed = "".join(f"<p><b>{page.text(2)}</b><br><span class='dim'>{page.text(6)}</span></p>" for _ in range(12))
    letter = f"<h2>{page.text(5)}</h2><p>{page.text(90)}</p>{page.photo(420, 220)}<p>{page.text(40)}</p>"
    return f"{BESIDE}<div class='panel pad aside'>{listed}</div><div class='pad'>{letter}</div></div>"


def chat(page: Page) -> str:
    """Bubbles, one with a picture."""
    bubbles = [
        f"<div class='bubble' style='margin-left: {0 if index % 2 else 380}px'>{page.text(6 + page.number(16))}</div>"
        for index in range(8)
    ]
    bubbles.insert(3, f"<div class='bubble' style='width: 300px'>{page.photo(270, 170)}</div>")
    return f"<div class='panel pad'><b>{page.text(2)}</b> <span class='dim'>online</span></div>{''.join(bubbles)}"


def article(page: Page) -> str:
    """Columns of prose around a photograph."""
    prose = f"{page.photo(480, 250)}<p>{page.text(130)}</p><p>{page.text(120)}</p>"
    title = f"<h1 style='font: 34px serif'>{page.text(7)}</h1>"
    return f"<div class='pad'>{title}<div style='columns: 2; font: 16px/1.4 serif'>{prose}</div></div>"


def gallery(page: Page) -> str:
    """Photographs with captions."""
    shown = "".join(
        f"<div style='margin: 6px'>{page.photo(238, 170)}<span class='dim'>IMG_{page.number(9999):04}.jpg</span></div>"
        for _ in range(12)
    )
    return f"<div class='panel pad'><b>Pictures</b> <button>Import</button></div>{BESIDE}{shown}</div>"


def dashboard(page: Page) -> str:
    """Figures, bars and a curve."""
    tiles = "".join(
        f"<div class='panel pad tile'><span class='dim'>{page.text(2)}</span><h1>{page.number(90_000):,}</h1></div>"
        for _ in range(4)
    )
    bars = "".join(
        f"<rect x='{24 * index}' y='{300 - high}' width='16' height='{high}' fill='#3a8f4d'/>"
        for index, high in enumerate(page.random.integers(20, 280, 20))
    )
    walk = np.cumsum(page.random.normal(0, 12, 48))
    path = " ".join(f"{10 * index},{150 - round(value)}" for index, value in enumerate(walk))
    curve = f"<polyline points='{path}' fill='none' stroke='#d9822b' stroke-width='2'/>"
    charts = f"<svg width=500 height=320>{bars}</svg><svg width=500 height=320>{curve}</svg>"
    return f"{BESIDE}{tiles}</div>{BESIDE}{charts}</div><p class='pad'>{page.text(50)}</p>"


def settings(page: Page) -> str:
    """Switches, sliders and fields."""
    rows = "".join(
        f"<p><input type=checkbox {'checked' if index % 3 else ''}> <b>{page.text(3)}</b> <input type=range> "
        f"<input value='{page.text(2)}'> <span class='dim'>{page.text(8)}</span></p>"
        for index in range(13)
    )
    listed = "".join(f"<p>{page.text(2)}</p>" for _ in range(14))
    form = f"<h2>{page.text(3)}</h2>{rows}<button>Apply</button>"
    return f"{BESIDE}<div class='panel pad aside'>{listed}</div><div class='pad'>{form}</div></div>"


def slides(page: Page) -> str:
    """A presentation: a slide, and small ones beside it."""
    small = "".join(f"<div class='slide small'><b>{page.text(3)}</b><br>{page.text(12)}</div>" for _ in range(6))
    points = "".join(f"<li>{page.text(7)}</li>" for _ in range(4))
    shown = f"<h1>{page.text(4)}</h1>{BESIDE}<ul style='width: 340px'>{points}</ul>{page.photo(280, 220)}</div>"
    return f"{BESIDE}<div class='panel aside'>{small}</div><div class='slide large'>{shown}</div></div>"


WINDOWS: tuple[Callable[[Page], str], ...] = (
    code, terminal, spreadsheet, mail, chat, article, gallery, dashboard, settings, slides,
)  # fmt: skip


def shot(body: str, theme: str, path: Path) -> None:
    """A screenshot of a page, WIDTH x HEIGHT."""
    with TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(f"<meta charset=utf-8><style>{STYLE.format(*THEMES[theme])}</style>{body}", encoding="utf-8")
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}",
             f"--user-data-dir={folder}/profile", f"--screenshot={path.resolve()}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def edited(body: str, page: Page) -> str:
    """With two of its longer texts changed."""
    texts = sorted(set(re.findall(r">([^<>]{20,})<", body)), key=body.index)
    for text in page.random.permutation(texts)[:2].tolist():
        body = body.replace(text, html.escape(page.text(len(text.split()))), 1)
    return body


def scrolled(body: str) -> str:
    """By a little more than two lines."""
    return f"<div style='margin-top: -37px'>{body}</div>"


@click.group(help=__doc__)
def main() -> None:
    """See above."""


@main.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--later", is_flag=True, help="Each as it is later, too.")
def render(photos: Path, out: Path, later: bool) -> None:
    """Each window in each theme."""
    out.mkdir(parents=True, exist_ok=True)
    page = Page(pictures_in(photos), np.random.default_rng(1))
    for window in WINDOWS:
        for theme in THEMES:
            body, path = window(page), out / f"{window.__name__}-{theme}.png"
            shot(body, theme, path)
            if later:
                shot(scrolled(edited(body, page)), theme, path.with_stem(f"{path.stem}{LATER}"))


def point(picture: Path, data: bytes, decoded: Image.Image) -> Point:
    """Of a coded picture."""
    pixels, found = pixels_of(picture), np.asarray(decoded.convert("RGB"))
    return Point(len(data), psnr(pixels, found), 100.0 if np.array_equal(pixels, found) else ssimulacra2(pixels, found))


def avif(picture: Path, quality: int) -> Point:
    """As `nicodec bench` has it."""
    codec = make("avif")
    data = codec.encode(Image.open(picture).convert("RGB"), quality)
    return point(picture, data, codec.decode(data))


def ours(picture: Path, quality: float) -> Point:
    """By default."""
    data = nicodec.encode(picture, quality=quality)
    return point(picture, data, nicodec.decode(data))


def against(curve: Sequence[Point], found: Point) -> float:
    """Bytes of a point, less 1, over those of a curve at equal SSIMULACRA2."""
    scores, sizes = zip(*sorted((each.ssimulacra2, np.log(each.bytes)) for each in curve), strict=True)
    return found.bytes / float(np.exp(np.interp(found.ssimulacra2, scores, sizes))) - 1


@main.command()
@click.argument("screens", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--qualities", default="10,40,70")
def measure(screens: Path, out: Path, qualities: str) -> None:
    """Each picture of a folder; the last row is the geometric mean."""
    results, asked = Results(out), [float(word) for word in qualities.split(",")]
    rows: list[dict[str, object]] = []
    for picture in pictures_in(screens):
        name = picture.stem
        curve = [results.once(f"{name}-avif{q}", partial(avif, picture, q)) for q in AVIF_QUALITIES]
        found = {f"q {q:g}": results.once(f"{name}-{q:g}", partial(ours, picture, q)) for q in asked}
        row = {"screen": name, **{quality: against(curve, each) for quality, each in found.items()}}
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    shares = np.array([[row[f"q {quality:g}"] for quality in asked] for row in rows], np.float64)
    means = np.expm1(np.log1p(shares).mean(0))
    rows.append({"screen": "geometric mean", **{f"q {q:g}": float(m) for q, m in zip(asked, means, strict=True)}})
    table(results, rows)


if __name__ == "__main__":
    main()
