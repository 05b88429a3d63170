"""Trust in references, component by component: files that name it, what it changes, and how it is trained."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
from pictures import error_of

import nicodec
from nicodec import errors
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import verify_bytes
from nicodec.container.layout import Section, SectionType
from nicodec.container.reader import read_file
from nicodec.container.references import TRUST, Says, read_aligned, trust_of, what_blocks_say, write_aligned
from nicodec.container.writer import write_file
from nicodec.entropy.motion import CLASSES, WHOLLY, Motion
from nicodec.latents.floats import Expected
from nicodec.latents.rates import to_rates
from nicodec.networks.trust import Trust, TrustConfig
from nicodec.rate.tile import TileRate
from nicodec.references.library import Held
from nicodec.training.second_shots import second_shots
from nicodec.training.trust import TrustStage
from nicodec.zoo.load import load_base, load_trust
from nicodec.zoo.model import Model
from nicodec.zoo.store import find_package

OPTIONS = {"device": "cpu", "drawn": "off", "quality": 20, "effort": 4}


@pytest.fixture(scope="module")
def first():
    return nicodec.encode(pictures.image(200, 150), model="tiny", **{**OPTIONS, "quality": 60})


@pytest.fixture(scope="module")
def shot():
    return pictures.another_shot(200, 150)


@pytest.fixture(scope="module")
def trusting(first, shot):
    """The file of another shot, of the model with a trust."""
    return nicodec.encode(shot, model="tiny-trust", references=[first], **OPTIONS)


def decode(data, first, **options):
    return np.asarray(nicodec.decode(data, references=[first], device="cpu", **options)).astype(int)


def renamed(data, **changes):
    """The file with another REFERENCES section. `changes`: arguments of `write_aligned`."""
    file = read_file(data)
    said = {"says": what_blocks_say(file), "trust": trust_of(file), **changes}
    section = Section(SectionType.REFERENCES, write_aligned(read_aligned(file), **said))
    return write_file(file.header, [section, file.sections[SectionType.SQ]])


# --- files


def test_a_file_names_the_trust_of_its_model(first, shot, trusting):
    part = find_package("tiny-trust").parts["trust"]
    assert nicodec.read_info(trusting)["trust"] == part.id[:3].hex()
    plain = nicodec.encode(shot, model="tiny", references=[first], **OPTIONS)
    assert nicodec.read_info(plain)["trust"] is None
    assert len(trusting) < 0.8 * len(nicodec.encode(shot, model="tiny-trust", **OPTIONS))
    assert error_of(shot, decode(trusting, first)) < 1.1 * error_of(shot, decode(plain, first))


def test_what_it_says_makes_the_picture_and_no_symbol(first, shot, trusting):
    """Without its name the file parses to the same symbols, and decodes to another picture."""
    nameless = renamed(trusting, trust=None)
    assert len(trusting) - len(nameless) == 3
    symbols = [list(OwnDecoder(read_file(data)).symbols().values()) for data in (trusting, nameless)]
    assert [tile.tobytes() for tile in symbols[0]] == [tile.tobytes() for tile in symbols[1]]
    right, wrong = (decode(data, first) for data in (trusting, nameless))
    assert np.abs(right - wrong).mean() > 0.1
    assert error_of(shot, wrong) > error_of(shot, right)


def test_files_without_references_and_those_of_less_effort_are_as_ever(first, shot):
    for options in (OPTIONS, {**OPTIONS, "effort": 3, "references": [first]}):
        assert nicodec.encode(shot, model="tiny-trust", **options) == nicodec.encode(shot, model="tiny", **options)


def test_a_trust_that_costs_more_is_left_out(first, shot):
    """That of the tiny model is of use at quality 20, and of none at 80."""
    plain, data = (
        nicodec.encode(shot, model=model, references=[first], **{**OPTIONS, "quality": 80})
        for model in ("tiny", "tiny-trust")
    )
    assert trust_of(read_file(data)) is None
    assert len(data) < 1.01 * len(plain)


def test_both_engines_agree(first, trusting):
    assert np.abs(decode(trusting, first, engine="onnx") - decode(trusting, first, engine="torch")).max() <= 1


def test_crops_are_the_whole_picture(first):
    earlier = nicodec.encode(pictures.image(1100, 90), model="tiny", **OPTIONS)
    data = nicodec.encode(pictures.another_shot(1100, 90), model="tiny-trust", references=[earlier], **OPTIONS)
    assert trust_of(read_file(data)) is not None
    whole = decode(data, earlier)
    for left, top, width, height in ((960, 10, 120, 70), (1030, 0, 50, 90), (0, 5, 30, 20)):
        crop = decode(data, earlier, crop=(left, top, width, height))
        assert np.abs(crop - whole[top : top + height, left : left + width]).max() <= 1


def test_a_chain_takes_each_file_with_its_own_trust(first, trusting):
    third = pictures.another_shot(200, 150, across=5)
    data = nicodec.encode(third, model="tiny", references=[trusting, first], **OPTIONS)
    assert Held.of(trusting).id in {held.id for held in read_aligned(read_file(data))}
    assert [trust_of(read_file(each)) is None for each in (data, trusting, first)] == [True, False, True]
    decoded = nicodec.decode(data, references=[trusting, first], device="cpu")
    alone = nicodec.decode(nicodec.encode(third, model="tiny", **OPTIONS), device="cpu")
    assert error_of(third, decoded) < 1.1 * error_of(third, alone)


def test_the_highest_class_trusts_a_reference_as_it_stands():
    model = Model.named("tiny-trust", device="cpu")
    base, trust = model.base, model.trust(b"")
    random = np.random.default_rng(0)
    y = random.normal(size=(1, base.latent, 8, 12)).astype(np.float32)
    z_hat = np.rint(random.normal(size=(1, base.networks("h_a", y, np.zeros(1))[0].shape[1], 2, 3))).astype(np.float32)
    for level in range(1, CLASSES):
        motion = Motion.none(2, 3)
        motion.classes[:] = level
        expected = Expected(motion, np.empty(0, np.uint8), y)
        means = [
            base.reconstruct(
                z_hat, lambda step: np.zeros_like(y[:, step.start : step.stop]), to_rates(TileRate(9999)), held
            )
            for held in (expected, replace(expected, trust=trust))
        ]
        assert np.array_equal(*means) == (level == WHOLLY)


# --- what is refused


def test_a_trust_that_is_not_installed_is_named_and_the_file_still_verifies(trusting, tiny, monkeypatch, first):
    monkeypatch.setenv("NICODEC_MODELS", str(tiny.path.parents[1]))
    other = renamed(trusting, trust=b"\x01\x02\x03")
    with pytest.raises(errors.MissingPartError, match=r"names trust 010203\.\. on"):
        decode(other, first)
    assert verify_bytes(other).symbols == verify_bytes(trusting).symbols


def test_a_trust_of_another_base_is_not_taken(trusting, first, tiny, tmp_path, monkeypatch):
    package = find_package("tiny-trust")
    shutil.copytree(tiny.path.parent, tmp_path / "tiny")
    shutil.copytree(package.folder, tmp_path / "tiny-trust")
    manifest = tmp_path / "tiny-trust" / "model.toml"
    before, _, after = manifest.read_text().rpartition(tiny.id.hex())
    manifest.write_text(f"{before}{'0' * 16}{after}")
    monkeypatch.setenv("NICODEC_MODELS", f"{tmp_path}{os.pathsep}{tmp_path}")
    with pytest.raises(errors.MissingPartError, match="names trust"):
        decode(trusting, first)


@pytest.mark.parametrize("kind", [8, 12, 255])
def test_kinds_to_come_are_refused(trusting, kind):
    file = read_file(trusting)
    payload = bytes([kind]) + file.payload(SectionType.REFERENCES)[1:]
    changed = write_file(file.header, [Section(SectionType.REFERENCES, payload), file.sections[SectionType.SQ]])
    with pytest.raises(errors.CorruptFileError, match=f"of kind {kind}, expected 1..8 of kind 0..7"):
        nicodec.decode(changed, device="cpu")


def test_a_section_that_ends_within_the_trust_is_refused(trusting):
    file = read_file(trusting)
    changed = write_file(
        file.header, [Section(SectionType.REFERENCES, bytes([TRUST, 1, 7])), file.sections[SectionType.SQ]]
    )
    with pytest.raises(errors.CorruptFileError, match="the REFERENCES section"):
        nicodec.decode(changed, device="cpu")


def test_what_is_written_is_read(trusting):
    file = read_file(trusting)
    for says in (Says(), Says(shown=True), Says(splits=True), Says(True, True)):
        for trust in (None, b"abcdefgh"):
            payload = write_aligned(read_aligned(file), says, trust)
            again = read_file(
                write_file(file.header, [Section(SectionType.REFERENCES, payload), file.sections[SectionType.SQ]])
            )
            assert (what_blocks_say(again), trust_of(again)) == (says, trust and trust[:3])
            assert read_aligned(again) == read_aligned(file)


# --- the network, and its training


def test_it_starts_by_trusting_all(tiny):
    base = load_base(tiny, "cpu")
    config = base.config
    trust = Trust(TrustConfig.on(config))
    torch.manual_seed(0)
    hyper, y_ref, off = (torch.randn(1, channels, 4, 8) for channels in (config.context, config.latent, config.latent))
    for step in trust.steps:
        means = trust(hyper, y_ref, off, step, torch.tensor([20000.0]))
        assert torch.equal(means, y_ref[:, step.start : step.stop])


def test_second_shots_are_near_and_not_the_same():
    x = torch.from_numpy(np.stack([pictures.scene(96, 64), pictures.scene(64, 96).transpose(1, 0, 2)]))
    x = x.permute(0, 3, 1, 2).float() / 255
    developed = []

    def develop(shots):
        developed.append(shots)
        return shots

    nearer = []
    for seed in range(8):
        torch.manual_seed(seed)
        own, aligned = second_shots(x, develop)
        assert own.shape == aligned.shape == x.shape
        inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
        error, unaligned = ((own - other)[inside].square().mean() for other in (aligned, developed[-1]))
        nearer.append(bool(error < unaligned))
    assert sum(nearer) >= 7  # vectors of coarse cells may be wrong where most of a crop is a far layer
    torch.manual_seed(3)
    once = second_shots(x, develop)
    torch.manual_seed(3)
    assert all(torch.equal(a, b) for a, b in zip(once, second_shots(x, develop), strict=True))


def test_steps_on_one_batch_save_bits(tiny):
    """And the loss reaches every weight."""
    base = load_base(tiny, "cpu")
    torch.manual_seed(0)
    stage = TrustStage(TrustConfig.on(base.config, width=16), base)
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=4e-3)
    scenes = np.stack([pictures.scene(128, 128), pictures.scene(192, 128)[:, -128:]])
    x, seen = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255, []
    for _ in range(8):
        torch.manual_seed(1)  # the same shots
        loss, figures = stage.loss(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(figures["bits"])
    assert seen[-1] < 0.9 * seen[0]
    still = {name for name, weight in stage.module.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert {name for name in still if "entry_rate" not in name} == set()


def test_the_commands_train_it_and_make_it_a_part(tiny, tmp_path, inside, monkeypatch, first, shot):
    (tmp_path / "pictures").mkdir()
    pictures.image(280, 264).save(tmp_path / "pictures" / "a.png")
    shutil.copytree(tiny.path.parent, tmp_path / "models" / "tiny")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "models"))
    how = ("--steps", "2", "--batch", "1", "--crop", "64", "--width", "width=8", "--device", "cpu", "--quiet")
    data = ("--data", tmp_path / "pictures")
    code, _, err = inside("train", "trust", "--model", "tiny", *data, "--out", tmp_path / "run", *how)
    assert code == 0, err
    code, _, err = inside("models", "export", tmp_path / "run", "-o", tmp_path / "models" / "tiny")
    assert code == 0, err
    part = find_package("tiny").parts["trust"]
    assert part.trained_on == {tiny.id}
    assert len(part.graphs) == 4
    assert load_trust(part, "cpu").config.width == 8
    data = nicodec.encode(shot, model="tiny", references=[first], **OPTIONS)
    assert trust_of(read_file(data)) == part.id[:3]
    alone = nicodec.decode(nicodec.encode(shot, model="tiny", **OPTIONS), device="cpu")
    assert error_of(shot, decode(data, first)) < 1.1 * error_of(shot, alone)
