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
from nicodec.dictionary import conditioning
from nicodec.drawing import guess
from nicodec.options import EncodeOptions
from nicodec.rate.scale import lambda_from_rate, rate_from_quality
from nicodec.trials import block_areas, block_errors

CASES = Path(__file__).parent / "cases"
HOW = {"model": "wild", "device": "cpu", "quality": 20, "drawn": "off"}


@pytest.fixture(scope="module")
def wild(tiny, tmp_path_factory):
    """A package whose tokens make MoDE-F's picture worse, though not by so much that the bound takes it back."""
    folder = tmp_path_factory.mktemp("wild")
    toy.make_model(folder, "wild", tiny, stride=16, spread=0.012)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", f"{folder}:{tiny.path.parents[1]}")
        yield folder


def has_tokens(data):
    return SectionType.VQ in read_file(data).sections


def test_tokens_that_do_harm_are_left_out_unless_they_are_asked_for(wild):
    image = pictures.captioned(320, 192)
    data = nicodec.encode(image, **HOW)
    assert data == nicodec.encode(image, streams="sq", **HOW)
    for asking in ({"verify": False}, {"robust": True}, {"token_bits": 2}):
        assert has_tokens(nicodec.encode(image, **asking, **HOW))
    asked = nicodec.encode(image, streams="sq+vq", **HOW)
    assert has_tokens(asked)
    with_tokens, without = (np.asarray(nicodec.decode(held, device="cpu")) for held in (asked, data))
    original = np.asarray(image)
    assert (block_errors(with_tokens, original) / block_errors(without, original)).max() > 10**0.1


def test_the_command_says_what_it_left_out(wild, inside, tmp_path):
    pictures.captioned(320, 192).save(tmp_path / "a.png")
    call = ("encode", "a.png", "--model", "wild", "-q", 20, "--device", "cpu", "--drawn", "off", "-f", "-o")
    code, _, err = inside(*call, "a.nic")
    assert code == 0
    (warning,) = [line for line in err.splitlines() if "warning" in line]
    assert "tokens" in warning
    assert "--streams sq+vq" in warning
    for asking in (("--streams", "sq+vq"), ("--streams", "sq"), ("--no-verify",)):
        assert "warning" not in inside(*call, "a.nic", *asking)[2]


def test_a_photograph_is_not_decoded(wild, monkeypatch):
    """Its networks know it; and a decode takes as long as the rest."""
    image = pictures.image(320, 192)
    assert guess(np.asarray(image), EncodeOptions(drawn="off"), lambda_from_rate(rate_from_quality(20))).photograph
    monkeypatch.setattr("nicodec.painters.synthesis.Synthesis.paint", None)
    assert has_tokens(nicodec.encode(image, **HOW))


def test_tokens_that_do_no_harm_stay(toys):
    image = pictures.captioned(150, 130)
    assert has_tokens(nicodec.encode(image, model="toy16", device="cpu", quality=20, drawn="off"))


def test_blocks_are_whole_squares_and_the_last_has_the_rest():
    found = np.zeros((130, 70, 3), np.uint8)
    found[128:] = 9
    assert block_errors(found, np.zeros_like(found)).tolist() == [[0.0], [81 * 2 * 70]]
    assert block_areas(130, 70).tolist() == [[64 * 70], [66 * 70]]
    assert block_areas(200, 5).tolist() == [[320], [320], [360]]
    assert block_errors(found[:5, :3], found[-5:, :3]).shape == block_areas(5, 3).shape == (1, 1)


def cost(data, original, quality):
    """Bits and error of a file, as the encoder weighs them."""
    squared = np.square(np.asarray(nicodec.decode(data).convert("RGB")).astype(float) - original)
    return 8 * len(data) + lambda_from_rate(rate_from_quality(quality)) * squared.mean(2).sum()


@pytest.mark.parametrize("quality", [20, 60, 85])
@pytest.mark.parametrize("name", ["pixelart_48x48.png", "patches.png", "text_bw.png"])
def test_references_are_never_worse_than_none(name, quality, monkeypatch):
    """Bits and error of the files themselves, where it seems from afar that references of a dictionary pay."""
    search = conditioning.refer
    monkeypatch.setattr(conditioning, "refer", lambda picture, model, rate, count: search(picture, model, rate, 3))
    original = np.asarray(Image.open(CASES / name).convert("RGB"))
    costs = {
        how: cost(nicodec.encode(original, model="tiny-references", quality=quality, references=how, drawn="off"),
                  original, quality)
        for how in ("auto", "off", 3)
    }  # fmt: skip
    assert costs["off"] != costs[3]
    assert costs["auto"] == min(costs["off"], costs[3])
