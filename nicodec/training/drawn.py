"""Drawn pictures: text, stripes, checks, flat shapes and noise, of which photographs hold too little to learn from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
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
    kinds = (_text, _text, _shapes, _waves, _noise)
    pixels = np.asarray(kinds[random.integers(len(kinds))](size, random), np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Black, white, a grey or any colour."""
    choices = [
        (0, 0, 0),
        (255, 255, 255),
        (int(random.integers(256)),) * 3,
        tuple(map(int, random.integers(256, size=3))),
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


def _noise(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    channels = random.choice([1, 3])
    noise = random.normal(random.uniform(64, 192), 2 ** random.uniform(1, 7), (size, size, channels))
    return np.broadcast_to(noise.clip(0, 255).round(), (size, size, 3))
