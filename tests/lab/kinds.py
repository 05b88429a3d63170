"""Make the pictures of the set `kinds`: what people save that is no daylight photograph.

python tests/lab/kinds.py SKIMAGE OUT

SKIMAGE is the folder skimage/data of scikit-image 0.25.2 (its wheel on PyPI). Taken from it: astronaut and Hubble's
deep field (NASA, public domain), rocket (SpaceX, public domain), camera, coffee, chelsea and horse (CC0). All others
are drawn here, by other code than that of the training drawings. nicodec/bench/manifests/kinds.sha256 lists what came
of it with Pillow 13 and NumPy 1.26.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 576, 448
PROSE = (
    "A picture that is sent is looked at by someone who never saw the one it was made of. What was lost on the way "
    "is nobody's but the sender's to judge, and he has no time. So a format has to be honest by itself: it says what "
    "it kept, it keeps what it says, and where it has to guess it guesses what was likely. Letters are no likely "
    "thing. A seven that becomes a one is worse than a seven that is grey. Hair, grass and gravel may be other hair, "
    "other grass and other gravel, if they are as long, as green and as coarse as they were."
)
Values = NDArray[np.float64]


def image(values: Values) -> Image.Image:
    """Values (h, w, 3) in levels to a picture."""
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, points: float, colour: str, words: int) -> int:
    """Set so many words of PROSE in lines of a width; returns where the next line would be."""
    font, (left, top), line = ImageFont.load_default(points), place, ""
    for word in [*(PROSE.split() * 8)[:words], ""]:
        longer = f"{line} {word}".strip()
        if not word or draw.textlength(longer, font) > width:
            draw.text((left, top), line, colour, font)
            top, longer = top + round(1.4 * points), word
        line = longer
    return top


def page(ground: str, ink: str, points: float) -> Image.Image:
    """A page of prose under a title."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), ground)
    draw = ImageDraw.Draw(picture)
    draw.text((24, 16), "On pictures that are sent", ink, ImageFont.load_default(2 * points))
    write(draw, (24, 24 + round(3 * points)), WIDTH - 48, points, ink, 400)
    return picture


def scan(turned: float, grain: float) -> Image.Image:
    """A page as a scanner sees it: turned, soft, unevenly lit, on paper with grain."""
    flat = page("white", "#202020", 13).rotate(turned, Image.Resampling.BICUBIC, fillcolor="white")
    values = np.asarray(flat.filter(ImageFilter.GaussianBlur(0.7)), np.float64)
    rows, columns = np.indices((HEIGHT, WIDTH)) / HEIGHT
    paper = np.random.default_rng(3).normal(0, grain, (HEIGHT, WIDTH))
    light = 0.97 - 0.16 * np.square(columns - 0.5) - 0.06 * rows
    return image(values * (light * [[[1.0]], [[0.98]], [[0.93]]]).transpose(1, 2, 0) + paper[..., None])


def screen(dark: bool, photograph: Image.Image) -> Image.Image:
    """A window with a list, a table, buttons and a photograph."""
    light = ("#ffffff", "#eef1f5", "#1c1e21", "#70757d")
    ground, panel, ink, dim = ("#1e1f22", "#2b2d31", "#dfe1e5", "#8a8f98") if dark else light
    picture = Image.new("RGB", (WIDTH, HEIGHT), ground)
    draw, random = ImageDraw.Draw(picture), np.random.default_rng(7)
    font = ImageFont.load_default(12)
    draw.rectangle((0, 0, WIDTH, 27), fill="#2f6fdb")
    draw.text((10, 6), "Pictures  -  File   Edit   View   Help", "white", font)
    draw.rectangle((0, 28, 139, HEIGHT), fill=panel)
    for row, name in enumerate(("Inbox", "Holidays", "Scans", "Screens", "Drawings", "Old things", "Bin")):
        if row == 2:
            draw.rectangle((0, 38 + 26 * row, 139, 60 + 26 * row), fill="#2f6fdb")
        draw.text((14, 42 + 26 * row), f"{name} ({random.integers(1, 400)})", "white" if row == 2 else ink, font)
    for row in range(9):
        top = 40 + 20 * row
        draw.line((150, top + 18, 560, top + 18), fill=panel)
        draw.text((154, top), f"scan-{random.integers(1000, 9999)}.png", ink, font)
        draw.text((300, top), f"{random.integers(1, 31):02d}.11.2026", dim, font)
        draw.text((420, top), f"{random.integers(10_000, 9_000_000):>9,} B", dim, font)
    picture.paste(photograph.resize((240, 160), Image.Resampling.LANCZOS), (154, 240))
    write(draw, (410, 240), 150, 11, ink, 60)
    for left, label, fill in ((154, "Open", "#2f6fdb"), (234, "Send", "#3a8f4d"), (314, "Delete", "#b3382c")):
        draw.rounded_rectangle((left, 412, left + 70, 436), 6, fill=fill)
        draw.text((left + 14, 417), label, "white", font)
    return picture


def gradient(low: tuple[int, ...], high: tuple[int, ...], grain: float) -> Image.Image:
    """From one colour to another, down and a little across, with a glow; grain hides the steps, 0: they are there."""
    rows, columns = np.indices((HEIGHT, WIDTH)) / HEIGHT
    share = np.clip(0.85 * rows + 0.1 * columns, 0, 1)[..., None]
    glow = np.exp(-8 * (np.square(columns - 0.9) + np.square(rows - 0.75)))[..., None]
    noise = np.random.default_rng(5).normal(0, grain, (HEIGHT, WIDTH, 3)) if grain else 0
    return image(np.array(low) * (1 - share) + np.array(high) * share + 18 * glow + noise)


def hatching() -> Image.Image:
    """An ink drawing: hills, hatched, and a sun."""
    big = Image.new("L", (4 * WIDTH, 4 * HEIGHT), 255)
    draw, random = ImageDraw.Draw(big), np.random.default_rng(11)
    draw.ellipse((1700, 150, 2000, 450), outline=0, width=10)
    for hill in range(5):
        across = np.arange(0, 4 * WIDTH + 8, 8)
        tops = 700 + 200 * hill + 120 * np.sin(across / (260 + 90 * hill) + 2 * hill) + 30 * np.sin(across / 70 + hill)
        draw.polygon([(0, 9999), *zip(across.tolist(), tops.tolist(), strict=True), (9999, 9999)], fill=255)
        draw.line([*zip(across.tolist(), tops.tolist(), strict=True)], fill=0, width=9)
        for x, y in zip(across[::2].tolist(), tops[::2].tolist(), strict=True):
            long = random.uniform(30, 170)
            draw.line((x, y, x - 0.6 * long, y + long), fill=0, width=int(random.integers(3, 7)))
    return big.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).convert("RGB")


def plan() -> Image.Image:
    """A technical drawing in thin coloured lines, with measures."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "#fbfaf5")
    draw, random = ImageDraw.Draw(picture), np.random.default_rng(13)
    for x in range(0, WIDTH, 16):
        draw.line((x, 0, x, HEIGHT), fill="#dfe8ea")
    for y in range(0, HEIGHT, 16):
        draw.line((0, y, WIDTH, y), fill="#dfe8ea")
    for _ in range(14):
        left, top, wide, high = (16 * int(v) for v in random.integers((1, 1, 3, 3), (24, 18, 11, 9)))
        ink = ("#1d3f8f", "#a02020", "#1b6b3a", "#202020")[random.integers(4)]
        draw.rectangle((left, top, left + wide, top + high), outline=ink)
        draw.arc((left, top, left + high, top + high), 0, 90, fill=ink)
        draw.text((left + 3, top + 3), f"{wide * 25} x {high * 25}", ink, ImageFont.load_default(9))
    return picture


def night(day: Image.Image, exposure: float, grain: float) -> Image.Image:
    """A photograph as it is at night: dark, warm and noisy."""
    linear = np.power(np.asarray(day, np.float64) / 255, 2.2) * exposure * np.array([1.1, 0.9, 0.6])
    photons = linear + np.random.default_rng(17).normal(0, 1, linear.shape) * grain * np.sqrt(linear + 0.002)
    return image(255 * np.power(np.clip(photons, 0, 1), 1 / 2.2))


def pictures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """All of them by name, a kind before the number. `folder`: skimage/data."""

    def found(name: str) -> Image.Image:
        return Image.open(folder / name).convert("RGB")

    yield "face-1", found("astronaut.png")
    yield "face-2", found("astronaut.png").crop((130, 10, 322, 202)).resize((384, 384), Image.Resampling.LANCZOS)
    yield "face-3", found("camera.png")  # grey, as many greys are kept: three equal channels
    yield "face-4", found("chelsea.png")
    yield "text-1", page("white", "black", 12)
    yield "text-2", page("#0000ff", "#ff0000", 14)
    yield "text-3", page("#00a000", "#ff00ff", 11)
    yield "text-4", page("#101418", "#e6d9a8", 13)
    yield "screen-1", screen(False, found("coffee.png"))
    yield "screen-2", screen(True, found("rocket.jpg"))
    yield "night-1", found("hubble_deep_field.jpg").crop((200, 200, 200 + WIDTH, 200 + HEIGHT))
    yield "night-2", night(found("coffee.png"), 0.08, 0.05)
    yield "night-3", found("rocket.jpg")
    yield "gradient-1", gradient((8, 10, 18), (38, 34, 52), 0)
    yield "gradient-2", gradient((70, 120, 200), (225, 215, 205), 1.0)
    yield "gradient-3", gradient((3, 3, 3), (30, 30, 30), 0.6)
    yield "line-1", hatching()
    yield "line-2", plan()
    yield "line-3", found("horse.png")
    yield "scan-1", scan(0.7, 2.5)
    yield "scan-2", scan(-1.3, 5.0)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("skimage", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(asked.skimage):
        picture.save(asked.out / f"{name}.png")


if __name__ == "__main__":
    main()
