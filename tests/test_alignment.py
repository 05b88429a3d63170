"""Where references lie: motion as it is coded, the warp against a slow one, alignments, and what looks alike."""

from itertools import product

import numpy as np
import pictures
import pytest
import slow_container
from pictures import error_of
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.container.drawn import SIDE
from nicodec.container.references import GAIN, Alignment
from nicodec.entropy.coder import motion_bits
from nicodec.entropy.motion import CELLS, CLASSES, Motion, walk_motion
from nicodec.references.align import align
from nicodec.references.build import clusters
from nicodec.references.look import look
from nicodec.references.refer import agree
from nicodec.references.search import find_motion
from nicodec.references.warp import Aligned, warp

CELL = SIDE // CELLS


def larger(values, times):
    return values.repeat(times, 0).repeat(times, 1)


def random_motion(random, height, width, shown=False, splits=False):
    motion = Motion.none(height, width, shown=shown, splits=splits)
    motion.sources[:] = random.integers(0, 3, motion.sources.shape)
    taken = motion.sources > 0
    motion.classes[:] = random.integers(0, CLASSES, motion.classes.shape) * larger(taken, 2)
    if shown:
        motion.shown[:] = random.integers(0, 2, motion.shown.shape) * taken
    if splits:
        split = larger(random.integers(0, 2, taken.shape) * taken, 2)
        motion.splits[:] = split * random.integers(1, 3, split.shape)
    cells, finest = random.integers(-8192, 8192, motion.vectors.shape), larger(motion.classes * 0, 2)
    if splits:
        finest = larger(motion.splits, 2)
    for level, side in enumerate((CELLS, 2, 1)):
        vectors = larger(cells[::side, ::side], side)
        motion.vectors[:] = np.where((finest == level)[..., None], vectors, motion.vectors)
    motion.vectors[:] *= larger(taken, CELLS)[..., None]
    return motion


@pytest.mark.parametrize(("shown", "splits"), product((False, True), repeat=2))
def test_the_walk_reads_what_it_wrote(shown, splits):
    motion, written = random_motion(np.random.default_rng(1), 3, 5, shown, splits), []

    def write(weights, entry):
        assert sum(weights) == 1 << 24
        assert min(weights) > 0
        written.append(entry)
        return entry

    walk_motion(motion, write)
    read = Motion.none(3, 5, shown=shown, splits=splits)
    walk_motion(read, lambda weights, _: written.pop(0))
    assert read.tobytes() == motion.tobytes()
    assert motion_bits(motion) > 0


def test_a_vector_out_of_its_range_is_refused():
    entries = iter([1, 15, *[1] * 14])
    with pytest.raises(errors.CorruptFileError, match="vector"):
        walk_motion(Motion.none(1, 1), lambda weights, _: next(entries, 0))


@pytest.mark.parametrize("light", [((GAIN, 0),) * 3, ((1100, -30), (900, 44), (1024, 3))])
def test_the_warp_is_the_slow_one(light):
    """Turned, seen from elsewhere, out of the picture, with vectors of all lengths."""
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (50, 70, 3), np.uint8)
    corners = ((37, -90), (-400, 211), (150, -333), (-77, 5))
    motion = random_motion(random, 2, 2, splits=True)
    motion.vectors[:] //= 40
    aligned = [Aligned(pixels, Alignment(corners, light), 90, 100), Aligned(pixels, Alignment(), 90, 100)]
    found = warp(aligned, motion, (slice(0, 8), slice(0, 8)))
    header, plain = {"width": 90, "height": 100}, pixels.astype(int).tolist()
    said = [(b"", "", list(each.alignment.corners), each.alignment.light) for each in aligned]
    for row, column in random.integers(0, 128, (300, 2)).tolist():
        source = max(1, int(motion.sources[row // SIDE, column // SIDE]))
        vector = motion.vectors[row // CELL, column // CELL].tolist()
        assert found[row, column].tolist() == slow_container.warped(
            header, said[source - 1], plain, vector, row, column
        ), (row, column)


def test_what_lies_as_it_is_stays_as_it_is():
    pixels = pictures.scene(100, 70)
    same = warp([Aligned(pixels, Alignment(), 100, 70)], Motion.none(2, 2), (slice(0, 8), slice(0, 8)))
    assert np.array_equal(same[:70, :100], pixels)


def test_a_turned_and_darker_shot_is_found():
    """The alignment, by the error of what it predicts."""
    image = Image.fromarray(pictures.scene(400, 320))
    turned = image.transform((400, 320), Image.Transform.AFFINE, (0.995, -0.02, 9, 0.02, 0.995, -6), Image.BICUBIC)
    picture = np.round(np.asarray(turned) * 0.8 + 10).astype(np.uint8)[64:-64, 64:-64]
    pixels = np.asarray(image)[64:-64, 64:-64]
    found = Aligned(pixels, align(picture, pixels), picture.shape[1], picture.shape[0])
    seen = warp([found], Motion.none(3, 5), (slice(0, 12), slice(0, 20)))[: len(picture), : picture.shape[1]]
    inner = (slice(32, -32), slice(32, -32))
    assert error_of(picture[inner], seen[inner].astype(int)) < 0.2 * error_of(picture[inner], pixels[inner].astype(int))


def test_a_camera_that_stood_still_copies_without_interpolation():
    pixels = pictures.scene(300, 200)
    noise = np.random.default_rng(0).normal(0, 2, pixels.shape)
    assert align(np.clip(pixels + noise, 0, 255).round().astype(np.uint8), pixels) == Alignment()


def lettered(width, height):
    """Lines of text without end, in columns, as windows have them."""
    page = np.asarray(pictures.captioned(width, height))
    return np.concatenate([page[::-1], page], 0)[:height]


@pytest.mark.parametrize("move", [(0, 37), (14, 0), (-6, -23)])
def test_what_moved_by_whole_pixels_is_copied_without_interpolation(move):
    x, y = move
    page = lettered(420, 340)
    rows, columns = (slice(50 + way, size - 50 + way) for way, size in zip((y, x), page.shape, strict=False))
    pixels, later = page[50:-50, 50:-50], page[rows, columns]
    found = align(later, pixels)
    assert found.corners == ((16 * x, 16 * y),) * 4
    assert found.light == Alignment().light


@pytest.mark.parametrize("sides", [(1, 1), (1, 90), (40, 2), (17, 16)])
def test_the_smallest_pictures_are_aligned(sides):
    pixels, larger = (pictures.scene(*each) for each in (sides, (30, 20)))
    for picture, reference in ((pixels, pixels), (pixels, larger), (larger, pixels)):
        assert align(picture, reference).homography(picture.shape[1], picture.shape[0])


@pytest.mark.parametrize("sides", [(1, 1), (90, 3), (5, 17)])
def test_the_smallest_pictures_refer(sides):
    picture, reference = pictures.image(*sides), pictures.file_bytes(pictures.image(sides[1], sides[0]))
    options = {"model": "tiny", "device": "cpu", "drawn": "off"}
    data = nicodec.encode(picture, references=[reference], **options)
    assert nicodec.decode(data, device="cpu", references=[reference]).size == sides


def test_what_stood_still_while_the_rest_scrolled_is_found():
    page = lettered(512, 420)
    pixels, later = page[:384], page[37:421].copy()
    later[:, :128] = pixels[: len(later), :128]
    later = later[:320]
    reference = Aligned(pixels, align(later, pixels), later.shape[1], later.shape[0])
    assert reference.alignment.corners == ((0, 16 * 37),) * 4
    around = (slice(0, 20), slice(0, 32))
    motion = find_motion(later, [reference], around, around, 100)
    seen = warp([reference], motion, around)
    same = (seen == later).all(2)
    assert same[:, :128].mean() > 0.9
    assert same[:, 128:].mean() > 0.9
    assert (motion.vectors[:, : 4 * CELLS, 0] == -4 * 37).mean() > 0.5


def test_what_was_searched_in_vain_is_not_tried():
    random = np.random.default_rng(0)
    pixels, other = (
        np.asarray(Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).resize((400, 300), Image.BICUBIC))
        for _ in range(2)
    )
    moved = pixels[9:, 14:]
    for reference, expected in ((pixels, True), (other, False)):
        aligned = Aligned(reference, align(moved, reference), moved.shape[1], moved.shape[0])
        assert agree(moved, aligned) is expected


def test_clusters_are_of_what_looks_alike():
    scenes = [pictures.scene(90, 70), pictures.scene(90, 70)[::-1], pictures.scene(90, 70)[:, ::-1]]
    looks = [look(np.clip(pixels * gain, 0, 255).astype(np.uint8)) for pixels in scenes for gain in (1.0, 0.9, 1.05)]
    found = clusters(looks, 3)
    assert sorted(cluster.index // 3 for cluster in found) == [0, 1, 2]
    assert [cluster.members for cluster in found] == [3, 3, 3]
    assert len(clusters(looks[:2], 5)) <= 2
