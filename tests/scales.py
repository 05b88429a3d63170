"""Scale models out of random numbers: what entropy coding needs of a base with any number of tunes."""

import json

import numpy as np
import safetensors.numpy

from nicodec.entropy.coder import Latent
from nicodec.entropy.integer import Layer
from nicodec.entropy.order import passes
from nicodec.entropy.scales import ScaleModel
from nicodec.entropy.tables import SCALE_LEVELS, WEIGHT_TOTAL, Tables
from nicodec.rate.scale import KNOTS

M, N, SLICES, WIDTH = 8, 4, 2, 4


def random_scales(tunes, seed=0):
    """Every layer depends on rate and tune; numpy's legacy generator never changes, so neither does the model."""
    random = np.random.RandomState(seed)
    knots = KNOTS * tunes

    def layer(*shape, high=127 << 8, reach=4000, shift=8):
        weight = random.randint(-200, 201, shape).astype(np.float64)
        bias = random.randint(0, reach << shift, (knots, shape[0])).astype(np.int64)
        return Layer(weight, bias, np.full(shape[0], shift, np.int64), high=high)

    layers = {
        "hyper.embed": layer(4 * WIDTH, N), "hyper.mix": layer(WIDTH, 3, 3), "hyper.grow": layer(4 * WIDTH, WIDTH),
    }  # fmt: skip
    for step in passes(M, SLICES):
        layers[f"{step.index}.embed"] = layer(WIDTH, WIDTH + step.known)
        layers[f"{step.index}.mix"] = layer(WIDTH, 3, 3)
        layers[f"{step.index}.hidden"] = layer(WIDTH, WIDTH)
        layers[f"{step.index}.head"] = layer(M // SLICES, WIDTH, high=SCALE_LEVELS - 1, reach=40, shift=16)
    z_index = random.randint(0, SCALE_LEVELS << 8, (knots, N)).astype(np.int64)
    magnitude = np.minimum(256 * np.arange(256.0), 4000)
    return ScaleModel(M, N, SLICES, z_index, magnitude, layers, tuple(map(tables_of, range(tunes))))


def tables_of(tune):
    """Heavy tails, a little wider with each tune: integers alone, so that they are the same on every machine."""
    limits = 8 + 2 * np.arange(SCALE_LEVELS)
    counts = []
    for index, limit in enumerate(limits):
        width = 1 + index * index // (8 - tune)
        symbols = np.arange(-limit, limit + 1)
        mass = np.append((1 << 32) * width // (width + symbols * symbols), 1 << 20)
        free = WEIGHT_TOTAL - len(mass)
        counts.append(mass * free // mass.sum())
        counts[-1][limit] += free - counts[-1].sum()
    return Tables(limits, np.concatenate(counts))


def part_of(model):
    """A base part with nothing but the integer half."""
    config = {"latent": model.latent, "hyper": model.hyper, "slices": model.slices, "tunes": model.tunes}
    arrays = {f"entropy.{name}": array for name, array in model.to_arrays().items()}
    return safetensors.numpy.save(arrays, {"config": json.dumps(config)})


def random_latent(model, height, width, seed, spread, rate):
    """Symbols with heavy tails, so that escapes occur; numpy's legacy generator never changes."""
    random = np.random.RandomState(seed)
    z = random.standard_t(2, (height, width, model.hyper)) * spread
    y = random.standard_t(2, (4 * height, 4 * width, model.latent)) * spread
    return Latent(*(np.clip(np.round(v), -32767, 32767).astype(np.int16) for v in (z, y)), rate)
