"""Rectangles that cover what is wanted of a map; and networks that work in these alone."""

import numpy as np
import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import nicodec
from nicodec.latents import floats
from nicodec.latents.cover import CALL, Rectangle, cover
from nicodec.latents.geometry import BLOCK

MAPS = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda sides: arrays.arrays(
        np.bool_, (BLOCK * sides[0], BLOCK * sides[1]), elements=st.integers(0, 9).map(lambda n: n < 2)
    )
)


@given(MAPS, st.integers(1, 3))
def test_all_that_is_wanted_is_covered_once(wanted, reach):
    height, width = wanted.shape
    covered = np.zeros(wanted.shape, int)
    for rectangle in cover(wanted, reach):
        covered[rectangle.span] += 1
        near = rectangle.around(reach, height, width)
        sides = near.top, near.bottom, near.left, near.right
        assert all(side % BLOCK == 0 for side in sides)
        assert near.top <= max(0, rectangle.top - reach)
        assert near.left <= max(0, rectangle.left - reach)
        assert near.bottom >= min(height, rectangle.bottom + reach)
        assert near.right >= min(width, rectangle.right + reach)
        assert wanted[rectangle.top, :].any()
        assert wanted[rectangle.bottom - 1, :].any()
    assert (covered[wanted] == 1).all()
    assert covered.max(initial=0) <= 1


@given(MAPS)
def test_it_is_never_more_work_than_row_by_row_or_all_at_once(wanted):
    found = cover(wanted, 2)
    work = sum(rectangle.around(2, *wanted.shape).area + CALL for rectangle in found)
    rows = [(row, np.flatnonzero(wanted[row])) for row in np.flatnonzero(wanted.any(1))]
    alone = [Rectangle(row, row + 1, columns[0], columns[-1] + 1) for row, columns in rows]
    assert work <= sum(rectangle.around(2, *wanted.shape).area + CALL for rectangle in alone)
    assert work <= wanted.size + CALL


def test_a_strip_at_two_borders_is_two_rectangles():
    wanted = np.zeros((32, 48), np.bool_)
    wanted[:, 46:] = wanted[30:] = True
    assert cover(wanted, 2) == [Rectangle(0, 30, 46, 48), Rectangle(30, 32, 0, 48)]
    assert cover(np.ones((32, 48), np.bool_), 2) == [Rectangle(0, 32, 0, 48)]
    assert cover(np.zeros((32, 48), np.bool_), 2) == []


@pytest.fixture(scope="module")
def referring(tiny):
    """A picture half of which a reference shows, and its bytes."""
    options = {"model": "tiny", "device": "cpu", "drawn": "off"}
    first = np.asarray(pictures.image(256, 192)).copy()
    second = first.copy()
    second[100:, 90:] = np.random.default_rng(1).integers(0, 256, second[100:, 90:].shape)
    reference = nicodec.encode(pictures.Image.fromarray(first), **options, quality=90)
    return nicodec.encode(pictures.Image.fromarray(second), **options, references=[reference]), reference


def test_a_part_of_the_map_gives_the_means_of_the_whole(referring, monkeypatch):
    data, reference = referring
    seen = []
    monkeypatch.setattr(floats, "cover", lambda wanted, reach: seen.append(wanted.mean()) or cover(wanted, reach))
    found = np.asarray(nicodec.decode(data, references=[reference], device="cpu")).astype(int)
    assert any(0 < share < 1 for share in seen)
    monkeypatch.setattr(floats, "cover", lambda wanted, reach: [Rectangle(0, wanted.shape[0], 0, wanted.shape[1])])
    whole = np.asarray(nicodec.decode(data, references=[reference], device="cpu")).astype(int)
    assert np.abs(found - whole).max() <= 1
