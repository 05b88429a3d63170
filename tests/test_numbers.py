"""Numbers that are none, or have no end: refused by every option and every field, before any work is done."""

import itertools
import json

import numpy as np
import pictures
import pytest
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.options import DecodeOptions, EncodeOptions, parse_references
from nicodec.target import Target

NONE = [float("nan"), float("inf"), -float("inf"), "3", None, 10**400, -(10**400)]
ENCODING = ("quality", "effort", "token_bits", "references", "frame")
DECODING = ("tau", "steps", "seed", "crop", "max_pixels", "memory_limit")
OPTIONAL = {"token_bits", "frame", "tau", "seed", "crop", "max_pixels", "memory_limit"}
UNLIMITED = {"token_bits", "frame", "crop", "max_pixels", "memory_limit"}  # large numbers are for others to judge


def fields(names):
    for name, value in itertools.product(names, NONE):
        if not (value is None and name in OPTIONAL) and not (value == 10**400 and name in UNLIMITED):
            yield pytest.param(name, value, id=f"{name} {str(value)[:6]}")


@pytest.mark.parametrize(("name", "value"), list(fields(ENCODING)))
def test_fields_of_encode(name, value):
    with pytest.raises(errors.UsageError) as caught:
        nicodec.encode(pictures.image(8, 8), model="tiny", device="cpu", **{name: value})
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(("name", "value"), list(fields(DECODING)))
def test_fields_of_decode(name, value):
    with pytest.raises(errors.UsageError) as caught:
        nicodec.decode(b"", **{name: (0, 0, 4, value) if name == "crop" else value})
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("options", [
    {"effort": 2.5}, {"token_bits": 0}, {"token_bits": 1.5}, {"references": 1.5}, {"quality": -0.1},
])  # fmt: skip
def test_encoding_out_of_range(options):
    with pytest.raises(errors.UsageError, match="expected"):
        EncodeOptions(**options)


@pytest.mark.parametrize("options", [
    {"steps": 1.5}, {"seed": 0.5}, {"seed": 2**64}, {"max_pixels": 0}, {"memory_limit": -1}, {"taus": ()},
    {"crop": (0, 0, 4)}, {"crop": ()}, {"crop": (0, 0, 4, 0)}, {"crop": (0.5, 0, 4, 4)},
])  # fmt: skip
def test_decoding_out_of_range(options):
    with pytest.raises(errors.UsageError, match="expected"):
        DecodeOptions(**options)


def test_numbers_of_numpy_are_numbers():
    EncodeOptions(quality=np.float32(30), effort=np.int64(2), token_bits=np.uint8(3))
    DecodeOptions(taus=(np.float32(0.5),), seed=np.int64(7), crop=tuple(np.arange(1, 5)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "3"])
@pytest.mark.parametrize("kind", ["bytes", "psnr", "lpips"])
def test_targets(kind, value):
    with pytest.raises(errors.UsageError, match="the target in"):
        Target(kind, value)


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e999", "9" * 400])
@pytest.mark.parametrize("call", [
    *(f"encode a.png -o a.nic {option}" for option in
      ("-q", "--target-size", "--target-bpp", "--target-psnr", "--target-lpips", "-e", "--references")),
    *(f"decode a.nic -o b.png {option}" for option in ("--tau", "--steps", "--seed", "--memory-limit")),
    "compare a.png -o a.html --tau", "compare a.png -o a.html --steps", "bench a.png -o report --settings",
    "train sq --data . --out run --minutes",
])  # fmt: skip
def test_options(inside, tmp_path, call, word):
    pictures.image(8, 8).save(tmp_path / "a.png")
    code, out, err = inside(*call.split(), word)
    assert (code, out) == (errors.UsageError.exit_code, b""), err
    assert "internal error" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_references_are_a_number_or_a_word():
    assert [parse_references(text) for text in ("3", "auto", "²", "9" * 5000)] == [3, "auto", "²", "9" * 5000]


def test_a_picture_without_any_error_is_infinitely_close(inside, tmp_path):
    """What a target reached may be infinite, though no target is."""
    Image.new("L", (16, 16), 255).save(tmp_path / "white.png")
    call = ("encode", "white.png", "-f", "-o", "a.nic", "--target-psnr", 1, "--model", "tiny", "--device", "cpu")
    assert "inf dB PSNR, asked for 1.00 dB PSNR" in inside(*call)[2]
    code, _, err = inside(*call, "--json")
    assert code == 0, err
    assert json.loads(err)["reached"] is None
    assert "Infinity" not in err
