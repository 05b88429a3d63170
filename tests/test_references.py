"""References: what the encoder chooses, what the file says, what the decoder does without the dictionary; training."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
import toy
from PIL import Image

import nicodec
from nicodec.codec import verify_bytes
from nicodec.container.layout import References, SectionType
from nicodec.container.payloads import read_references
from nicodec.container.reader import read_file
from nicodec.dictionary.conditioning import AUTO_COUNT, refer
from nicodec.dictionary.features import central
from nicodec.errors import MissingPartError, UsageError
from nicodec.image.arrays import from_array
from nicodec.networks.clc import CLCConfig
from nicodec.rate.tile import TileRate
from nicodec.training.clc import CLCStage
from nicodec.zoo.load import load_base, load_clc, load_dictionary, load_scales
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.model import Model
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.xdist_group("references")

MODEL = {"model": "tiny-references", "device": "cpu"}


def encode(picture, **options):
    return nicodec.encode(picture, **{**MODEL, **options})


def pixels(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options)).astype(int)


def test_off_is_the_base_to_the_byte():
    picture = toy.picture(3)
    plain = encode(picture, model="tiny-full")
    assert encode(picture, references="off") == plain
    assert encode(picture, references=1) != plain


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_file_says_what_it_refers_to(count, nicodec, tmp_path):
    data = encode(toy.picture(3), references=count)
    held = read_references(read_file(data))
    part = find_package("tiny-references").parts["dictionary"]
    assert held == References(part.id, 4, tuple(sorted(held.ids)))
    assert len(set(held.ids)) == count
    assert max(held.ids) < len(load_dictionary(part)) == 12
    assert len(read_file(data).payload(SectionType.REFERENCES)) == 10 + (4 * count + 7) // 8
    (tmp_path / "it.nic").write_bytes(data)
    facts = json.loads(nicodec("info", "it.nic", "--json")[1])["references"]
    assert facts == {"dictionary": part.id.hex(), "ids": list(held.ids), "bits": 4 * count}
    assert f"dictionary {part.id.hex()}, {4 * count} bits" in nicodec("info", "-v", "it.nic")[1].decode()


def test_other_references_are_another_picture_of_the_same_symbols():
    """On both anchors, and with tau; the symbols do not depend on them."""
    data = encode(toy.picture(3), references=2)
    file = read_file(data)
    others = replace(read_references(file), ids=(0, 11))
    changed = rewritten(file, others)
    assert verify_bytes(changed).symbols == verify_bytes(data).symbols
    for how in ({}, {"anchor": "perception"}, {"tau": 1.0}):
        assert np.abs(pixels(changed, **how) - pixels(data, **how)).mean() > 0.1


def rewritten(file, references):
    from nicodec.container.layout import Section
    from nicodec.container.writer import write_file, write_references

    held = {**file.sections, SectionType.REFERENCES: Section(SectionType.REFERENCES, write_references(references))}
    return write_file(file.header, list(held.values()))


def test_without_the_dictionary_a_decode_names_it_and_verify_holds(monkeypatch, tmp_path):
    data, folder = encode(toy.picture(3), references=2), find_package("tiny").folder.parent
    for name in ("tiny", "tiny-full"):
        shutil.copytree(folder / name, tmp_path / name)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(MissingPartError, match=find_package_id(folder)):
        nicodec.decode(data)
    assert verify_bytes(data).symbols > 0


def find_package_id(folder):
    return read_manifest(folder / "tiny-references" / "model.toml").parts["dictionary"].id.hex()


def test_a_model_without_a_dictionary_is_not_asked_for_references():
    assert encode(toy.picture(3), model="tiny", references="auto") == encode(toy.picture(3), model="tiny")
    with pytest.raises(MissingPartError, match="--references off"):
        encode(toy.picture(3), model="tiny", references=2)
    for wrong in (0, 9, "on"):
        with pytest.raises(UsageError, match="expected auto, off or"):
            encode(toy.picture(3), references=wrong)


def test_a_host_in_inference_mode_gets_the_same_file():
    expected = encode(toy.picture(3), references=2)
    with torch.inference_mode():
        assert encode(toy.picture(3), references=2) == expected


@pytest.mark.parametrize(("size", "expected"), [((700, 900), (512, 512)), ((63, 700), (64, 512)), ((1, 1), (64, 64))])
def test_the_middle_stands_for_the_picture(size, expected):
    picture = np.arange(size[0] * size[1]).reshape(*size, 1) % 251
    middle = central(picture.astype(np.uint8))
    assert middle.shape == (*expected, 1)
    top, left = (max(0, length - side) // 2 // 16 * 16 for length, side in zip(size, expected, strict=True))
    inside = picture[top : top + expected[0], left : left + expected[1]]
    assert np.array_equal(middle[: inside.shape[0], : inside.shape[1]], inside)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of stage clc that learned to code all toy pictures alike, and the package that it was exported to."""
    folder = tmp_path_factory.mktemp("clc")
    shutil.copytree(find_package("tiny").folder, folder / "model")
    manifest = folder / "model" / "model.toml"
    manifest.write_text(manifest.read_text().replace('name = "tiny"', 'name = "model"'))
    (folder / "data").mkdir()
    for index in range(toy.COUNT):
        Image.fromarray(toy.picture(index)).save(folder / "data" / f"{index:02}.png")
    (folder / "held out").mkdir()
    pictures.image(512, 512).save(folder / "held out" / "0.png")
    return folder


def test_training_pays_and_the_encoder_notices(trained, inside, monkeypatch):
    monkeypatch.setenv("NICODEC_MODELS", str(trained))
    data, model, run = trained / "data", trained / "model", trained / "run"
    assert inside("train", "dictionary", "build", "--data", data, "--size", 12, "-o", model)[0] == 0
    untrained = encode(toy.picture(3), model="model", references="auto")
    where = ("--data", data, "--validation", trained / "held out", "--out", run)
    code, _, message = inside("train", "clc", "--model", "model", *where, "--steps", 40, "--batch", 4, "--crop", 64,
                              "--quiet")  # fmt: skip
    assert code == 0, message
    assert inside("models", "export", run, "-o", model)[0] == 12
    assert inside("models", "export", run, "-o", model, "-f")[0] == 0

    figures = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])
    assert len(figures["on"]) == len(figures["off"]) == 4
    part = read_manifest(model / "model.toml").parts["dictionary"]
    base = load_base(read_manifest(model / "model.toml").parts["base"], "cpu")
    assert load_clc(part, base).config == CLCConfig()
    data = encode(toy.picture(3), model="model", quality=90, references="auto")
    held = read_references(read_file(data))
    assert held is not None
    assert len(held.ids) == AUTO_COUNT
    assert read_references(read_file(untrained)) is None


def test_export_without_a_dictionary_says_what_is_missing(inside, tmp_path):
    shutil.copytree(find_package("tiny").folder, tmp_path / "bare")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"stage": "clc"}')
    code, _, message = inside("models", "export", tmp_path / "run", "-o", tmp_path / "bare")
    assert code == 9
    assert "nicodec train dictionary build" in message


def test_auto_refuses_references_that_do_not_pay():
    """The toy adapters are noise."""
    model = Model.named("tiny-references", device="cpu")
    chosen = refer(from_array(toy.picture(3)), model, 20000, None)
    assert chosen.base is model.base
    assert not chosen.sections


def test_stage_clc_starts_as_the_base_and_counts_what_files_take(tiny):
    base, scales = load_base(tiny, "cpu"), load_scales(tiny)
    dictionary = load_dictionary(find_package("tiny-references").parts["dictionary"])
    torch.manual_seed(0)
    stage = CLCStage(CLCConfig(), base, scales, dictionary)
    x = torch.from_numpy(toy.picture(2)[:128, :128].copy()).permute(2, 0, 1)[None] / 255
    rate = TileRate(30000)
    stage.coding.eval()
    with torch.no_grad():
        plain = stage.coding(*base.transform(x, torch.tensor([30000.0])), rate)
        started = stage.code(stage.module, x, rate, 2)
    assert torch.allclose(started.x_hat, plain.x_hat, atol=1e-4)
    assert torch.allclose(started.bits, plain.bits, rtol=1e-3)
    (estimate,), real = plain.bits.tolist(), 8 * len(encode(toy.picture(2)[:128, :128], model="tiny", streams="sq"))
    assert estimate == pytest.approx(real, rel=0.5)
