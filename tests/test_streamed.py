"""Training pictures out of tars: all of them in turn, few at a time."""

import io
import tarfile

import pytest
import torch
from PIL import Image

from nicodec.errors import TrainingDataError
from nicodec.training.data import Pictures, training_pictures
from nicodec.training.loop import Run, Schedule
from nicodec.training.streamed import CROPS, Streamed

CPU = torch.device("cpu")
SIDE = 64


def tar(path, levels, broken=b"", beside=()):
    """A tar of flat pictures, one for each level, and of files that are no such."""
    path.parent.mkdir(exist_ok=True)
    files = {f"photos/{level:03}.png": png(level) for level in levels}
    files |= {"photos/broken.png": broken} if broken else {}
    files |= dict.fromkeys(beside, b"no picture")
    with tarfile.open(path, "w") as shard:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    return path.parent


def png(level, side=SIDE):
    held = io.BytesIO()
    Image.new("RGB", (side, side), (level,) * 3).save(held, "PNG")
    return held.getvalue()


def levels_of(pictures):
    return {int(picture[0, 0, 0]) for picture in pictures.pictures}


def test_every_picture_has_its_turn_and_few_are_held(tmp_path):
    tar(tmp_path / "a.tar", range(6), broken=b"no picture", beside=("photos/000.txt",))
    streamed = Streamed([tar(tmp_path / "b.tar", range(6, 12))], CPU, SIDE, held=3)
    seen = levels_of(streamed)
    for _ in range(40):
        assert streamed.batch(CROPS // 2, SIDE).shape == (CROPS // 2, 3, SIDE, SIDE)
        assert len(streamed) == 3
        seen |= levels_of(streamed)
    assert seen == set(range(12))
    assert "photos/broken.png in " in streamed.unreadable[0]


def test_crops_come_of_the_pictures_that_are_held(tmp_path):
    streamed = Streamed([tar(tmp_path / "a.tar", [0, 80, 200])], CPU, SIDE, held=3)
    torch.manual_seed(0)
    crops = torch.cat([streamed.batch(CROPS, SIDE) for _ in range(4)])
    assert {round(crop.mean().item() * 255) for crop in crops if crop.std() < 1e-6} >= {0, 80, 200}


def test_ranks_read_tars_of_their_own(tmp_path, monkeypatch):
    for index in range(4):
        tar(tmp_path / f"{index}.tar", [10 * index, 10 * index + 1])
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        seen.append(levels_of(Streamed([tmp_path], CPU, SIDE, held=8)))
    assert seen == [{0, 1, 20, 21}, {10, 11, 30, 31}]


def test_folders_of_pictures_are_held_and_both_kinds_together_refused(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(9))
    tar(tmp_path / "tars" / "a.tar", range(3))
    held = training_pictures([tmp_path / "pictures"], CPU, SIDE)
    assert type(held) is Pictures
    streamed = training_pictures([tmp_path / "tars"], CPU, SIDE)
    assert type(streamed) is Streamed
    assert held.fingerprint != streamed.fingerprint
    with pytest.raises(TrainingDataError, match=r"a\.png lies beside tars such as .*a\.tar"):
        training_pictures([tmp_path / "pictures", tmp_path / "tars"], CPU, SIDE)


@pytest.mark.parametrize(("data", "said"), [(png(3), "cannot read the tar"), (b"", "cannot read the tar")])
def test_what_is_no_tar_is_said(tmp_path, data, said):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(TrainingDataError, match=said):
        Streamed([tmp_path], CPU, SIDE)


def test_tars_without_a_picture_of_that_size_are_refused(tmp_path):
    with pytest.raises(TrainingDataError, match=r"no readable picture of at least 65x65 pixels in .*a\.tar"):
        Streamed([tar(tmp_path / "a.tar", range(3))], CPU, SIDE + 1)


def test_a_run_trains_on_tars(inside, tmp_path):
    from test_ranks import Fit

    streamed = training_pictures([tar(tmp_path / "tars" / "a.tar", range(0, 250, 9))], CPU, SIDE)
    schedule = Schedule(steps=2, batch=CROPS, accumulate=2, crop=SIDE, doublings=())
    (tmp_path / "run").mkdir()
    Run(Fit(tmp_path / "run"), schedule, tmp_path / "run", CPU, streamed, None, resume=False, init=None,
        quiet=True).train()  # fmt: skip
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2
    assert len((tmp_path / "run" / "losses-0.txt").read_text().splitlines()) == 4
    assert streamed.crops == 4 * CROPS
    code, _, said = inside("train", "sq", "--data", "tars", "--out", "other", "--device", "cpu", "--quiet")
    assert code == TrainingDataError.exit_code
    assert "no readable picture of at least 512x512 pixels in tars/a.tar" in said
