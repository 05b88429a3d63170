"""Targets: sizes and distances that a file is to reach, found by real files."""

from dataclasses import replace

import numpy as np
import pictures
import pytest

import nicodec
from nicodec import encoder, errors, target
from nicodec.codec import encode_picture
from nicodec.image.files import from_pillow
from nicodec.latents.floats import FloatPath
from nicodec.metrics.psnr import psnr
from nicodec.options import EncodeOptions

TINY = EncodeOptions(model="tiny", device="cpu", drawn="off")


@pytest.fixture
def files(monkeypatch):
    """Counts the files that a search makes."""
    made = []
    write = encoder.write_file
    monkeypatch.setattr(encoder, "write_file", lambda *given: made.append(write(*given)) or made[-1])
    return made


def test_a_search_analyses_once_and_ends_in_the_file_of_its_quality(files, monkeypatch):
    """A picture of two tiles: g_a sees each once, however many files are made."""
    analysed, picture = [], from_pillow(pictures.image(1100, 70))
    g_a = FloatPath.g_a
    monkeypatch.setattr(FloatPath, "g_a", lambda base, x: analysed.append(1) or g_a(base, x))
    data, quality, _ = target.encode_to_target(picture, TINY, target.Target("bytes", 7000))
    assert len(analysed) == 2
    assert 1 < len(files) <= target.TRIES
    assert data == encode_picture(picture, replace(TINY, quality=quality))


@pytest.mark.parametrize("value", [1200, 1500, 2500, 4000])
def test_sizes_are_met_closely_from_below(files, value):
    picture = from_pillow(pictures.image(200, 150))
    data, quality, reached = target.encode_to_target(picture, TINY, target.Target("bytes", value))
    assert len(files) <= target.TRIES
    assert reached == len(data)
    assert 0.97 * value <= len(data) <= value
    assert nicodec.read_info(data)["quality"] == pytest.approx(quality, abs=0.01)


@pytest.mark.parametrize("value", [19.0, 19.2, 19.35])
def test_psnr_is_met_closely_from_above(files, value):
    image = pictures.image(200, 150)
    data, _, reached = target.encode_to_target(from_pillow(image), TINY, target.Target("psnr", value))
    assert len(files) <= target.TRIES
    assert reached == psnr(np.asarray(image), np.asarray(nicodec.decode(data, device="cpu")))
    assert value <= reached <= value + 0.05


@pytest.mark.parametrize(("kind", "value"), [("bytes", 60), ("psnr", 90)])
def test_what_cannot_be_reached_is_said(files, kind, value):
    picture = from_pillow(pictures.image(200, 150))
    with pytest.raises(errors.TargetError, match=r"cannot be reached: quality (0|100) gives"):
        target.encode_to_target(picture, TINY, target.Target(kind, value))
    assert len(files) <= 3


def test_more_bytes_than_needed_give_the_best_there_is():
    picture = from_pillow(pictures.image(60, 50))
    _, quality, _ = target.encode_to_target(picture, TINY, target.Target("bytes", 1e6))
    assert quality == 100


def test_lpips_is_met(tmp_path):
    import torch
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    picture = from_pillow(pictures.image(100, 90))
    coarse, _, worst = target.encode_to_target(picture, TINY, target.Target("lpips", 1.0, tmp_path / "alexnet.pth"))
    fine, _, reached = target.encode_to_target(
        picture, TINY, target.Target("lpips", 0.95 * worst, tmp_path / "alexnet.pth")
    )
    assert reached <= 0.95 * worst
    assert len(fine) > len(coarse)


def test_targets_on_the_command_line(inside, tmp_path):
    pictures.image(120, 100).save(tmp_path / "a.png")
    tiny = ("--model", "tiny", "--device", "cpu")
    code, _, err = inside("encode", "a.png", "-o", "a.nic", "--target-size", "2KB", *tiny)
    assert code == 0, err
    assert (tmp_path / "a.nic").stat().st_size <= 2000
    assert "asked for 2000 bytes" in err
    code, _, err = inside("encode", "a.png", "-o", "b.nic", "--target-bpp", "1", *tiny)
    assert code == 0, err
    assert (tmp_path / "b.nic").stat().st_size <= 120 * 100 / 8
    assert inside("encode", "a.png", "-o", "c.nic", "--target-size", "5", *tiny)[0] == errors.TargetError.exit_code
    for wrong in (
        ("--target-size", "big"),
        ("--target-bpp", "1", "-q", "5"),
        ("--target-bpp", "1", "--target-psnr", "3"),
    ):
        assert inside("encode", "a.png", "-o", "c.nic", *wrong, *tiny)[0] == 2
    assert not (tmp_path / "c.nic").exists()
