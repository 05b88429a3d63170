"""What the encoder finds out by decoding: references that do not pay and tokens that do harm are left out."""

from pathlib import Path

import numpy as np
import pictures
import pytest
import toy
from PIL import Image

import nicodec
from nicodec.container.layout import SectionType
from nicodec.container.reader import read_file
from nicodec.rate.scale import lambda_from_rate, rate_from_quality
from nicodec.trials import block_errors

CASES = Path(__file__).parent / "cases"


@pytest.fixture(scope="module")
def wild(tiny, tmp_path_factory):
    """A package whose tokens make MoDE-F's picture worse."""
    folder = tmp_path_factory.mktemp("wild")
    toy.make_model(folder, "wild", tiny, stride=16, spread=0.012)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", f"{folder}:{tiny.path.parents[1]}")
        yield folder


def has_tokens(data):
    return SectionType.VQ in read_file(data).sections


def test_tokens_that_do_harm_are_left_out_unless_they_are_asked_for(wild):
    image = pictures.image(640, 192)
    how = {"model": "wild", "device": "cpu", "quality": 20}
    data = nicodec.encode(image, **how)
    assert data == nicodec.encode(image, streams="sq", **how)
    for asking in ({"verify": False}, {"robust": True}, {"token_bits": 2}):
        assert has_tokens(nicodec.encode(image, **asking, **how))
    asked = nicodec.encode(image, streams="sq+vq", **how)
    assert has_tokens(asked)
    with_tokens, without = (np.asarray(nicodec.decode(held, device="cpu")) for held in (asked, data))
    original = np.asarray(image)
    assert (block_errors(with_tokens, original) / block_errors(without, original)).max() > 1.2


def test_the_command_says_what_it_left_out(wild, inside, tmp_path):
    pictures.image(640, 192).save(tmp_path / "a.png")
    call = ("encode", "a.png", "--model", "wild", "-q", 20, "--device", "cpu", "-f", "-o")
    code, _, err = inside(*call, "a.nic")
    assert code == 0
    (warning,) = [line for line in err.splitlines() if "warning" in line]
    assert "tokens" in warning
    assert "--streams sq+vq" in warning
    assert "warning" not in inside(*call, "a.nic", "--streams", "sq+vq")[2]
    assert "warning" not in inside(*call, "a.nic", "--streams", "sq")[2]


def test_tokens_that_do_no_harm_stay(toys):
    assert has_tokens(nicodec.encode(pictures.image(150, 130), model="toy16", device="cpu", quality=20))


def test_blocks_are_whole_squares_and_the_last_has_the_rest():
    found = np.zeros((130, 70, 3), np.uint8)
    found[128:] = 9
    assert block_errors(found, np.zeros_like(found)).tolist() == [[0.0], [pytest.approx(81 * 2 / 66)]]
    assert block_errors(found[:5, :3], found[-5:, :3]).shape == (1, 1)


@pytest.mark.parametrize("quality", [20, 60, 85])
@pytest.mark.parametrize("name", ["pixelart_48x48.png", "patches.png"])
def test_references_are_never_worse_than_none(name, quality, monkeypatch):
    """Drawings that references of base1 made worse: bits and error of the files themselves."""
    monkeypatch.delenv("NICODEC_MODELS")
    image = CASES / name
    chosen, without = (nicodec.encode(image, quality=quality, references=how) for how in ("auto", "off"))
    original = np.asarray(Image.open(image).convert("RGB")).astype(float)
    weight = lambda_from_rate(rate_from_quality(quality))

    def cost(data):
        squared = (np.asarray(nicodec.decode(data).convert("RGB")) - original) ** 2
        return 8 * len(data) + weight * squared.mean(2).sum()

    assert cost(chosen) <= cost(without) * 1.0001
