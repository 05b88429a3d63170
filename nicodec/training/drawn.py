"""Drawn pictures, of which photographs hold too little to learn from: text, hard edges, ramps, flat shapes, noise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "0123456789",
    "pixels",
    "(and",
    "more)",
    "x = y + 2",
)


def drawn(size: int) -> Tensor:
    """A random drawing (3, size, size), float 0..1. From torch's global CPU generator."""
    random = np.random.default_rng(int(torch.randint(1 << 31, ()).item()))
    kinds = (_text, _text, _shapes, _waves, _noise, _cells, _cells, _ramp, _page)
    pixels = np.asarray(kinds[random.integers(len(kinds))](size, random), np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Black, white, a grey, any colour or a fully saturated one."""
    choices = [
        (0, 0, 0),
        (255, 255, 255),
        (int(random.integers(256)),) * 3,
        tuple(map(int, random.integers(256, size=3))),
        tuple(map(int, 255 * random.integers(2, size=3))),
    ]
    r, g, b = choices[random.integers(len(choices))]
    return r, g, b


def _text(size: int, random: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (size, size), _colour(random))
    draw, top = ImageDraw.Draw(image), int(random.integers(-8, 8))
    points, colour = random.uniform(7, 32), _colour(random)
    while top < size:
        if random.random() < 0.2:
            points, colour = random.uniform(7, 32), _colour(random)
        line = " ".join(random.choice(WORDS, 20))
        draw.text((int(random.integers(-30, 20)), top), line, fill=colour, font=ImageFont.load_default(points))
        top += int(points * random.uniform(1.0, 1.6))
    return image


def _shapes(size: int, random: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (size, size), _colour(random))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 12))):
        left, top = (int(v) for v in random.integers(-20, size, size=2))
        width, height = (int(v) for v in random.integers(1, size, size=2))
        box = (left, top, left + width, top + height)
        shape = random.integers(4)
        if shape == 0:
            draw.line(box, fill=_colour(random), width=int(random.integers(1, 6)))
        elif shape == 1:
            draw.ellipse(box, fill=_colour(random))
        else:
            draw.rectangle(box, fill=_colour(random), outline=_colour(random))
    return image


def _waves(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Stripes, checks, ramps and gratings of any period and direction, hard or soft."""
    rows, columns = np.indices((size, size))
    period = 2 ** random.uniform(1, 8)
    if random.random() < 0.5:
        period = round(period)  # two pixels is the hardest
    angle = random.choice([0, np.pi / 2, random.uniform(0, np.pi)])
    phase = (rows * np.sin(angle) + columns * np.cos(angle)) / period
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / period
    wave = np.sin(2 * np.pi * phase) * (np.sin(2 * np.pi * across) if random.random() < 0.4 else 1)
    share = (np.sign(wave) if random.random() < 0.6 else wave)[..., None] / 2 + 0.5
    return share * np.array(_colour(random)) + (1 - share) * np.array(_colour(random))


def _cells(size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Hard-edged squares of 1 to 32 pixels at any phase of the 16-pixel grid: checks, dither, pixel art."""
    side = int(random.integers(1, 33)) if random.random() < 0.5 else 2 ** int(random.integers(6))
    palette = np.array([_colour(random) for _ in range(random.integers(2, 8))], np.uint8)
    count = size // side + 2
    kind = random.integers(3)
    if kind == 0:
        cells = np.indices((count, count)).sum(0) % 2
    elif kind == 1:
        cells = (random.random((count, count)) < np.linspace(0, 1, count)).astype(int)
    else:
        cells = random.integers(len(palette), size=(count, count))
        cells[:, count // 2 :] = cells[:, : count - count // 2][:, ::-1]
    top, left = random.integers(side, size=2)
    pixels = palette[cells].repeat(side, 0).repeat(side, 1)
    return pixels[top : top + size, left : left + size]


def _ramp(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    """A smooth sky: two or three colours that are near one another, with next to no noise."""
    first = random.integers(256, size=3).astype(float)
    rows, columns = np.indices((size, size)) / size
    angle = random.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * rows + np.sin(angle) * columns)[..., None]
    bend = (rows * columns)[..., None]
    ramp = first + along * random.normal(0, 40, 3) + bend * random.normal(0, 30, 3)
    return (ramp + random.normal(0, random.choice([0, 0.5, 1.5]), ramp.shape)).clip(0, 255).round()


def _page(size: int, random: np.random.Generator) -> Image.Image:
    """A scanned page: dark text on paper that is not quite white or even, soft and a little noisy."""
    image = Image.new("L", (size, size), 255)
    draw, top = ImageDraw.Draw(image), int(random.integers(-8, 8))
    points = random.uniform(9, 28)
    while top < size:
        draw.text(
            (int(random.integers(-20, 8)), top), " ".join(random.choice(WORDS, 20)), 0, ImageFont.load_default(points)
        )
        top += int(points * random.uniform(1.2, 1.6))
    ink = np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.0))), float)[..., None] / 255
    paper = (
        random.uniform(215, 252)
        + random.normal(0, 3, 3)
        + np.indices((size, size))[0, ..., None] * random.normal(0, 0.02)
    )
    page = ink * paper + (1 - ink) * random.uniform(10, 70) + random.normal(0, random.uniform(0, 3), (size, size, 1))
    return Image.fromarray(page.clip(0, 255).round().astype(np.uint8))


def _noise(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    channels = random.choice([1, 3])
    noise = random.normal(random.uniform(64, 192), 2 ** random.uniform(1, 7), (size, size, channels))
    return np.broadcast_to(noise.clip(0, 255).round(), (size, size, 3))
