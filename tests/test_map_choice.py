"""The encoder's choice of a quality map: by a mask, and by local contrast."""

import numpy as np
import pictures
import pytest
from PIL import Image
from toy import CODED

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.reader import read_file
from nicodec.errors import InputError, UnsupportedPictureError, UsageError
from nicodec.rate.map import FURTHEST, WHITE, contrast_levels, mask_levels, total

MODELS = ["tiny", "tiny-tunes"]


def textured(height, width):
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def levels_of(data):
    """The map of a file of one tile."""
    (held,) = OwnDecoder(read_file(data)).symbols().values()
    return held.latent.rate.levels


def test_a_mask_of_the_pictures_size_counts_by_its_mean_over_a_block():
    mask = np.zeros((130, 200), np.uint8)
    mask[:64, 64:128] = 255
    mask[64:128, :32] = 255
    mask[128:, 192:] = 128
    assert mask_levels(mask, 130, 200).tolist() == [[0, WHITE, 0, 0], [WHITE // 2, 0, 0, 0], [0, 0, 0, WHITE // 2]]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (64, 64), (700, 900)])
def test_a_mask_of_any_size_is_stretched_over_the_picture(size):
    assert (mask_levels(np.full(size, 255, np.uint8), 150, 300) == WHITE).all()
    assert mask_levels(np.zeros(size, np.uint8), 150, 300).shape == (3, 5)
    half = np.zeros((size[0], 2 * size[1]), np.uint8)
    half[:, size[1] :] = 255
    assert mask_levels(half, 256, 512).tolist() == [[0] * 4 + [WHITE] * 4] * 4


def test_contrast_of_a_flat_a_textured_and_a_mixed_picture():
    flat, noise = np.full((150, 200, 3), 90, np.uint8), textured(150, 200)
    assert not contrast_levels(flat).any()
    assert not contrast_levels(noise).any()
    mixed = np.concatenate([np.full((192, 256, 3), 90, np.uint8), textured(192, 256)], 1)
    levels = contrast_levels(mixed)
    assert (levels[:, :4] > 0).all()
    assert (levels[:, 4:] < 0).all()
    assert abs(levels.mean()) < 0.5
    assert abs(levels).max() <= FURTHEST
    assert np.array_equal(contrast_levels(mixed[:, :, :1].repeat(3, 2)), contrast_levels(mixed[:, :, :1]))
    assert abs(contrast_levels(pictures.scene(1000, 700)).mean()) < 0.5


def test_blocks_beyond_the_border_look_as_those_within():
    assert not contrast_levels(textured(65, 70)).any()


def test_maps_add_up_in_the_formats_range_and_nothing_is_no_map():
    one = np.array([[10, -10]], np.int16)
    assert total(one, one).tolist() == [[15, -16]]
    assert total(one, -one) is None
    assert total() is None


@pytest.mark.parametrize("model", MODELS)
def test_what_is_white_is_closer_and_costs_more(model):
    image, mask = pictures.image(256, 128), np.zeros((16, 32), np.uint8)
    mask[:, :16] = 255
    options = {"model": model, "tune": "psnr", "quality": 40, **CODED}
    plain, better = nicodec.encode(image, **options), nicodec.encode(image, roi=mask, **options)
    assert levels_of(better).tolist() == [[WHITE, WHITE, 0, 0]] * 2
    assert nicodec.read_info(better)["quality_map"]
    assert len(better) > len(plain)
    before, after = (
        np.square(np.asarray(nicodec.decode(data, device="cpu")).astype(float) - np.asarray(image))
        for data in (plain, better)
    )
    assert after[:, :112].mean() < 0.97 * before[:, :112].mean()
    assert after[:, 144:].mean() == pytest.approx(before[:, 144:].mean(), rel=0.05)


def test_tiles_get_their_part_of_the_mask_and_their_neighbours_in_the_halo():
    """An encode of several tiles is as good as one of a single tile, on either side of the seam."""
    image, mask = pictures.image(1100, 70), np.zeros((1, 1100), np.uint8)
    mask[:, 960:] = 255
    data = nicodec.encode(image, model="tiny", roi=mask, quality=50, **CODED)
    first, second = OwnDecoder(read_file(data)).symbols().values()
    assert first.latent.rate.levels.tolist() == [[0] * 15 + [WHITE]] * 2
    assert second.latent.rate.levels.tolist() == [[WHITE] * 2] * 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nicodec.container.layout.TILE", 4096)
        single = nicodec.decode(nicodec.encode(image, model="tiny", roi=mask, quality=50, **CODED), device="cpu")
    errors = [np.square(np.asarray(picture).astype(float) - np.asarray(image))[:, 1008:1040].mean()
              for picture in (nicodec.decode(data, device="cpu"), single)]  # fmt: skip
    assert errors[0] < 1.05 * errors[1]


def test_contrast_draws_a_map_in_tune_eye_alone():
    image = Image.fromarray(np.concatenate([np.full((128, 128, 3), 90, np.uint8), textured(128, 128)], 1))
    eye, psnr = (nicodec.encode(image, model="tiny-tunes", tune=tune, **CODED) for tune in ("eye", "psnr"))
    assert np.array_equal(levels_of(eye), contrast_levels(np.asarray(image)))
    assert levels_of(psnr) is None
    assert not nicodec.read_info(nicodec.encode(image, model="tiny", **CODED))["quality_map"]
    both = nicodec.encode(image, model="tiny-tunes", roi=Image.new("L", (1, 1), 255), **CODED)
    assert np.array_equal(levels_of(both), contrast_levels(np.asarray(image)) + WHITE)


def test_a_black_mask_is_no_map():
    image, black = pictures.image(70, 60), Image.new("L", (9, 9))
    data = nicodec.encode(image, model="tiny", roi=black, **CODED)
    assert not nicodec.read_info(data)["quality_map"]
    assert np.array_equal(nicodec.decode(data), nicodec.decode(nicodec.encode(image, model="tiny", **CODED)))


def test_the_command_takes_a_mask(tmp_path, inside):
    for name in "ab":
        pictures.image(90, 70).save(tmp_path / f"{name}.png")
    Image.new("I;16", (5, 4), 65535).save(tmp_path / "white.png")
    code, _, said = inside("encode", "a.png", "b.png", "-o", "out", "--model", "tiny", "--roi", "white.png",
                           "--drawn", "off")  # fmt: skip
    assert code == 0, said
    assert (levels_of((tmp_path / "out" / "b.nic").read_bytes()) == WHITE).all()
    code, _, said = inside(
        "encode", "a.png", "-o", "c.nic", "--model", "tiny-full", "--roi", "white.png", "--target-psnr", "16"
    )
    assert code == 0, said
    assert b"quality map" in inside("info", "-v", "c.nic")[1]
    assert nicodec.read_info(tmp_path / "c.nic")["tokens"] is None


def test_masks_that_cannot_be_used(tmp_path, inside):
    pictures.image(30, 20).save(tmp_path / "a.png")
    pictures.image(30, 20, "LA").save(tmp_path / "holes.png")
    Image.new("LA", (3, 3), (9, 255)).save(tmp_path / "opaque.png")
    Image.new("RGB", (3, 3), (9, 9, 9)).save(tmp_path / "grey.png")
    (tmp_path / "text.png").write_bytes(b"no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    encode = "encode", "a.png", "-o", "a.nic", "-f", "--model", "tiny"
    for name, exit_code, what in (
        ("missing.png", 3, "cannot read missing.png"), (".", 3, "a folder"), ("empty.png", 3, "empty"),
        ("text.png", 3, "mask for roi: the input is not a picture"), ("a.png", 4, "mask for roi: it has colours"),
        ("holes.png", 4, "mask for roi: it is transparent"), ("opaque.png", 0, ""), ("grey.png", 0, ""),
    ):  # fmt: skip
        code, _, said = inside(*encode, "--roi", name)
        assert code == exit_code, said
        assert what in said
    image, mask = pictures.image(30, 20), np.zeros((2, 2), np.uint8)
    for options, what in (
        ({"model": "tiny-full", "streams": "sq+vq"}, "encode without --streams vq"),
        ({"model": "tiny-full", "streams": "vq"}, "encode without --streams vq"),
        ({"model": "tiny-references", "references": 2}, "--references off"),
        ({"base": "compressai:mbt2018-mean-q3", "base_weights": "x"}, "one quality"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=what):
            nicodec.encode(image, roi=mask, device="cpu", **options)
    with pytest.raises(InputError):
        nicodec.encode(image, roi=tmp_path / "missing.png")
    with pytest.raises(UnsupportedPictureError, match="mask for roi"):
        nicodec.encode(image, roi=image)
