"""Render `scene.png`: a lake between hills at dusk, all arithmetic, so that the examples need no photograph.

python examples/render_scene.py examples/scene.png
"""

import sys

import numpy as np
from PIL import Image

WIDTH, HEIGHT, HORIZON = 768, 512, 300


def noise(random, length, octaves, roughness):
    """A fractal curve (length,) of about -1..1."""
    x = np.arange(length)
    curve = np.zeros(length)
    for octave in range(octaves):
        knots = random.uniform(-1, 1, 2 ** (octave + 1) + 2)
        curve += roughness**octave * np.interp(x, np.linspace(0, length, len(knots)), knots)
    return curve


def fractal_field(random, height, width, octaves):
    """A cloud-like field (height, width), 0..1."""
    field = np.zeros((height, width))
    for octave in range(octaves):
        cells = random.uniform(size=(2 ** (octave + 1) + 1, 2 ** (octave + 2) + 1)).astype(np.float32)
        layer = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        field += 0.55**octave * np.asarray(layer)
    return (field - field.min()) / np.ptp(field)


def main(target):
    random = np.random.RandomState(7)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    depth = np.clip(y / HORIZON, 0, 1)[..., None]
    sky = (1 - depth) * [38, 62, 120] + depth * [250, 170, 110]
    clouds = np.clip(fractal_field(random, HEIGHT, WIDTH, 7) - 0.45, 0, 1)[..., None]
    sky = sky * (1 - clouds) + clouds * [255, 225, 210]
    sun = np.hypot(x - 520, y - 225)[..., None]
    sky = np.where(sun < 26, [255, 244, 214], sky + 90 * np.exp(-sun / 60))
    picture = sky
    grain = random.normal(size=(HEIGHT, WIDTH, 1))
    for index, (height, colour) in enumerate([(70, (96, 92, 128)), (40, (62, 74, 88)), (14, (34, 52, 44))]):
        ridge = HORIZON - height - 34 * noise(random, WIDTH, 9, 0.55)
        texture = fractal_field(random, HEIGHT, WIDTH, 8)[..., None] * 40 + grain * (3 + 4 * index)
        picture = np.where((y > ridge)[..., None], np.array(colour) + texture - 20, picture)
    ripple = (3 * np.sin(y * 0.9 + 2 * np.sin(x / 37)) + (y - HORIZON) * 0.04 * np.sin(x / 9 + y)).astype(int)
    mirror_y = np.clip(2 * HORIZON - y.astype(int) + ripple, 0, HORIZON)
    mirror_x = np.clip(x.astype(int) + ripple, 0, WIDTH - 1)
    water = picture[mirror_y, mirror_x] * 0.7 + np.array([10, 22, 38]) + grain * 2
    picture = np.where((y > HORIZON)[..., None], water, picture)
    for mast in (130, 170, 640):  # thin dark lines: the hard case for a transform codec
        picture[210:330, mast : mast + 2] = [22, 20, 24]
        picture[214:300:9, mast - 14 : mast + 16] = [40, 36, 40]
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(target, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
