"""Building, storing and searching a dictionary of references."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from PIL import Image

from nicodec.dictionary.build import build, regions
from nicodec.dictionary.features import features_of
from nicodec.errors import TrainingDataError, UsageError
from nicodec.latents.floats import load_float_path
from nicodec.networks.base import Base, BaseConfig
from nicodec.zoo.load import load_base, load_dictionary
from nicodec.zoo.manifest import read_manifest

COUNT = toy.COUNT  # pictures: 4 regions at full size and one at half, 80 in all
picture = toy.picture
BY_REFERENCE = ("latents", "vectors", "scale", "members")  # arrays with a row for each


@pytest.fixture(scope="module")
def base(tiny):
    return load_base(tiny, "cpu")


@pytest.fixture(scope="module")
def path(tiny):
    return load_float_path(tiny, "auto", "cpu")


@pytest.fixture(scope="module")
def all_regions(base):
    """A dictionary of as many references as there are regions."""
    return build(base, map(picture, range(COUNT)), 5 * COUNT)


def test_every_reference_is_a_real_region(base, all_regions):
    found = regions(base, map(picture, range(COUNT)))
    assert sum(all_regions.members) == len(found.features) == 5 * COUNT
    assert len(all_regions) > 3 * COUNT, "regions that differ have clusters of their own"
    restored = all_regions.latents * all_regions.step[:, None, None]
    for reference in restored:
        nearest = np.abs(found.latents - reference).mean((1, 2, 3)).min()
        assert nearest < all_regions.step.mean(), "int8 is all that lies between"


def test_a_base_of_too_few_components_is_refused_before_any_work():
    narrow = Base(BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, depth_8=1, depth_16=1, context=8))
    with pytest.raises(UsageError, match="16 components, expected 24 or more"):
        build(narrow, iter(()), 5)


def test_a_region_finds_itself(base, path, all_regions):
    match = all_regions.search(features_of(picture(3)[:128, :128], path), 1)[0]
    assert match.likeness > 0.98
    expected = base.g_a(torch.from_numpy(picture(3)[:128, :128].copy()).permute(2, 0, 1)[None] / 255).numpy()
    expected = expected[0, all_regions.channels]
    found = all_regions.latents[match.id] * all_regions.step[:, None, None]
    assert np.abs(found - expected).mean() < all_regions.step.mean()


def test_search_is_exact_and_sorted(path, all_regions):
    features = features_of(picture(5), path)
    query = (features - all_regions.mean) @ all_regions.projection
    likeness = all_regions.vectors.astype(np.float32) @ query / np.linalg.norm(query) / 127
    matches = all_regions.search(features, 7)
    assert [match.id for match in matches] == np.argsort(-likeness)[:7].tolist()
    assert matches[0].likeness == pytest.approx(likeness.max(), abs=1e-4)
    assert len(all_regions.search(features, 10**6)) == len(all_regions)


def test_ids_have_as_many_bits_as_they_need_and_files_allow(base, all_regions):
    bits = {size: replace(all_regions, **{name: getattr(all_regions, name)[:size] for name in BY_REFERENCE}).id_bits
            for size in (1, 2, 3, 4, 5)}  # fmt: skip
    assert bits == {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}


def test_too_few_pictures_are_refused(base):
    with pytest.raises(TrainingDataError, match="hold 5 regions of 128 pixels"):
        build(base, [picture(0)], 64)
    with pytest.raises(TrainingDataError, match="128 pixels wide"):
        build(base, [picture(0)[:100]], 64)


def test_the_command_builds_shows_and_searches(nicodec, tiny, tmp_path):
    shutil.copytree(tiny.path.parent, tmp_path / "models" / "tiny")
    environment = {**os.environ, "NICODEC_MODELS": str(tmp_path / "models")}
    (tmp_path / "data").mkdir()
    for index in range(COUNT):
        Image.fromarray(picture(index)).save(tmp_path / "data" / f"{index:02}.png")
    arguments = ("train", "dictionary", "build", "--data", "data", "--size", 20, "-o", "models/tiny")
    assert nicodec(*arguments, environment=environment)[0] == 0
    assert nicodec(*arguments, environment=environment)[0] == 12
    part = read_manifest(tmp_path / "models" / "tiny" / "model.toml").parts["dictionary"]
    assert part.trained_on == {tiny.id}

    _, out, _ = nicodec("train", "dictionary", "info", "tiny", "--json", environment=environment)
    facts = json.loads(out)
    assert facts["references"] == len(load_dictionary(part)) <= 20
    assert facts["bits"] == 5
    assert facts["adapters"] is False
    assert facts["regions"] == 5 * COUNT

    code, out, _ = nicodec("train", "dictionary", "search", "data/04.png", "--model", "tiny", "-n", 3, "--json",
                           environment=environment)  # fmt: skip
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(rows) == 3
    assert rows[0]["likeness"] >= rows[1]["likeness"] >= rows[2]["likeness"]
    assert all(row["likeness"] == pytest.approx(row["layout"] + row["texture"]) for row in rows)


def test_a_model_without_a_dictionary_says_so(nicodec):
    code, _, message = nicodec("train", "dictionary", "info", "tiny")
    assert code == 9
    assert "nicodec train dictionary build" in message
