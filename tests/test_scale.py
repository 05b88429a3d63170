"""`nicodec batch`: shards, their ledger, where pictures come from and go to, and what is refused."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pictures
import pytest
from lab.cluster import report
from PIL import Image
from sharded import FAST, TINY, as_manifest, entries, failures, outputs

pytest.importorskip("fsspec")

from nicodec import errors
from nicodec.container.reader import read_file
from nicodec.container.references import read_aligned
from nicodec.scale.places import Folder, read
from nicodec.scale.shards import plan

ROOT = Path(__file__).parents[1]


# --- what is done


def test_a_folder_there_and_back(inside, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no picture")
    code, _, err = inside("batch", "encode", "photos", "coded", *TINY, *FAST)
    assert code == errors.BatchError.exit_code, err
    assert outputs(tmp_path / "coded") == sorted(f"{p.relative_to(photos)}.nic" for p in photos.rglob("[0-9].png"))
    found = report(tmp_path / "coded")
    assert (found["pictures"], found["done"], found["failed"], found["shards_unfinished"]) == (11, 10, 1, 0)
    assert found["input_bytes"] == sum(path.stat().st_size for path in photos.rglob("[0-9].png"))
    assert found["output_bytes"] == sum(path.stat().st_size for path in (tmp_path / "coded").rglob("*.nic"))
    assert failures(tmp_path / "coded") == {"bad.png": errors.InputError.exit_code}
    assert "bad.png: the input is not a picture" in err
    for do, target in (("verify", "checked"), ("decode", "back")):
        code, _, err = inside("batch", do, "coded", target, *FAST)
        assert code == 0, err
        assert report(tmp_path / target)["done"] == 10
    assert outputs(tmp_path / "checked") == []
    assert outputs(tmp_path / "back") == sorted(f"{p.relative_to(photos)}.png" for p in photos.rglob("[0-9].png"))
    assert Image.open(tmp_path / "back/sub/1.png.png").size == (64, 48)


def test_what_is_finished_is_not_done_again_and_what_failed_only_on_demand(inside, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no picture")
    call = ("batch", "encode", "photos", "coded", *TINY, *FAST)
    assert inside(*call)[0] == errors.BatchError.exit_code
    before, first = entries(tmp_path / "coded"), report(tmp_path / "coded")
    pictures.image(20, 20).save(photos / "bad.png")
    code, _, err = inside(*call)
    assert code == errors.BatchError.exit_code, "the report is about the whole target"
    assert entries(tmp_path / "coded") == before
    same = ("pictures", "done", "failed", "input_bytes", "output_bytes", "failures")
    assert {name: report(tmp_path / "coded")[name] for name in same} == {name: first[name] for name in same}
    assert "1 failed before, which --retry does again" in err
    assert inside(*call, "--retry")[0] == 0
    changed = {name for name, when in entries(tmp_path / "coded").items() if when != before[name]}
    assert len(changed) == 1
    (tmp_path / "coded/bad.png.nic").unlink()
    assert inside(*call)[0] == 0
    assert not (tmp_path / "coded/bad.png.nic").exists(), "outputs of finished shards are not looked at"
    assert inside(*call, "-f")[0] == 0
    assert (tmp_path / "coded/bad.png.nic").is_file()


def test_a_manifest_may_grow(inside, photos, tmp_path):
    names = [path.relative_to(tmp_path) for path in sorted(photos.rglob("*.png"))]
    call = ("batch", "encode", as_manifest(tmp_path / "list.jsonl", *names[:8]), "coded", *TINY, *FAST)
    assert inside(*call)[0] == 0
    before = entries(tmp_path / "coded")
    as_manifest(tmp_path / "list.jsonl", *names)
    assert inside(*call)[0] == 0
    after = entries(tmp_path / "coded")
    assert (len(before), len(after), before.items() <= after.items()) == (2, 3, True)
    assert report(tmp_path / "coded")["done"] == 10


def test_a_series_refers_within_its_shard_and_decodes_in_a_batch(inside, photos, tmp_path):
    for tar in ((), ("--tar",)):
        coded, back = f"coded{len(tar)}", f"back{len(tar)}"
        code, _, err = inside("batch", "encode", "photos", coded, "--series", "--shard", "10", *TINY, *tar)
        assert code == 0, err
        files = dict(in_tars(tmp_path / coded)) if tar else {
            name: (tmp_path / coded / name).read_bytes() for name in outputs(tmp_path / coded)
        }  # fmt: skip
        assert len(files) == 10
        named = {r.name for data in files.values() for r in read_aligned(read_file(data))}
        assert named, "none refers to another"
        assert named <= {name.rsplit("/", 1)[-1] for name in files}
        source = f"{coded}/*.tar" if tar else coded
        code, _, err = inside("batch", "decode", source, back, *FAST)
        assert code == 0, err
        assert len(outputs(tmp_path / back)) == 10


# --- where from, where to


def in_tars(folder):
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path) as tar:
            yield from ((member.name, tar.extractfile(member).read()) for member in tar)


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_tars_in_and_out(inside, tmp_path):
    """Labels come along; a tar that is cut gives what is whole in it, and is named."""
    shots = [pictures.file_bytes(pictures.another_shot(40, 30, across=index)) for index in range(4)]
    write_tar(tmp_path / "in/a.tar", [("x/0.png", shots[0]), ("x/0.cls", b"7"), ("1.png", shots[1]), ("1.txt", b"")])
    write_tar(tmp_path / "in/deep/b.tar", [("2.png", shots[2]), ("3.png", shots[3])])
    whole = (tmp_path / "in/deep/b.tar").read_bytes()
    (tmp_path / "in/deep/b.tar").write_bytes(whole[: whole.rindex(b"3.png") + 600])
    code, _, err = inside("batch", "encode", "in/**/*.tar", "out", "--tar", *TINY)
    assert code == errors.BatchError.exit_code, err
    assert outputs(tmp_path / "out") == ["a.tar", "deep/b.tar"]
    made = dict(in_tars(tmp_path / "out"))
    assert list(made) == ["x/0.png.nic", "x/0.cls", "1.png.nic", "1.txt", "2.png.nic"]
    assert (made["x/0.cls"], made["1.txt"]) == (b"7", b"")
    assert {read_file(data).header.width for name, data in made.items() if name.endswith(".nic")} == {40}
    assert list(failures(tmp_path / "out")) == ["b.tar: 3.png", "b.tar"]
    code, _, err = inside("batch", "decode", "out/a.tar", "back")
    assert code == 0, err
    assert outputs(tmp_path / "back") == ["a/1.png.png", "a/x/0.png.png"]


def test_members_and_manifests_never_lead_out(inside, tmp_path):
    shot = pictures.file_bytes(pictures.image(20, 20))
    write_tar(tmp_path / "in/a.tar", [("ok.png", shot), ("../../out.png", shot)])
    code, _, err = inside("batch", "encode", "in/*.tar", "coded/deep", *TINY)
    assert code == errors.BatchError.exit_code
    assert "leads out of the folder" in err
    (tmp_path / "p.png").write_bytes(shot)
    as_manifest(tmp_path / "in/list.jsonl", "../p.png", tmp_path / "p.png")
    code, _, err = inside("batch", "encode", "in/list.jsonl", "listed", *TINY)
    assert code == errors.BatchError.exit_code
    assert "leads out of the manifest's folder: ../p.png" in err
    assert outputs(tmp_path / "listed") == [f"{tmp_path}/p.png.nic".lstrip("/")]
    assert [path.name for path in tmp_path.rglob("*.nic")].count("out.png.nic") == 0


def test_manifests(inside, photos, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    urls = ["photos/0.png", (photos / "sub/1.png").as_uri(), "nowhere.png", None]
    parquet.write_table(pyarrow.table({"key": [1, 2, 3, 4], "url": urls}), tmp_path / "list.parquet")
    code, _, err = inside("batch", "encode", "list.parquet", "coded", *TINY)
    assert code == errors.BatchError.exit_code, err
    place = f"{photos}/sub/1.png.nic".lstrip("/")
    assert outputs(tmp_path / "coded") == sorted(["photos/0.png.nic", place])
    assert "nowhere.png: cannot read" in err
    assert "row 4, names no file" in err
    assert report(tmp_path / "coded")["pictures"] == 4
    lines = ['{"at": "photos/0.png"}', "no json", '{"at": "photos/0.png"}', ""]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    code, _, err = inside("batch", "encode", "list.jsonl", "lines", "--column", "at", *TINY)
    assert code == errors.BatchError.exit_code, err
    assert "line 2, names no file" in err
    assert "holds two of this name" in err
    assert outputs(tmp_path / "lines") == ["photos/0.png.nic"]


@pytest.mark.parametrize(("source", "says"), [
    ("list.parquet", "it has key (int64); expected url or path"), ("list.jsonl", "its first line is no JSON object"),
    ("torn.parquet", "cannot read"), ("none.jsonl", "cannot read"), ("empty", "no files that end in"),
    ("nowhere", "cannot look into"), ("tars/*.tar", "there is no"), ("empty.jsonl", "names no files"),
])  # fmt: skip
def test_a_source_that_does_not_fit_is_said_before_anything_is_done(inside, tmp_path, source, says):
    if source.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"key": [1]}), tmp_path / "list.parquet")
        (tmp_path / "torn.parquet").write_bytes((tmp_path / "list.parquet").read_bytes()[:-9])
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.jsonl").write_text('{"file": "a.png"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    code, _, err = inside("batch", "encode", source, "coded", *TINY)
    assert code == errors.InputError.exit_code, err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "coded").exists()


def test_what_does_not_fit_into_memory_is_not_unreadable(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"small")
    folder = Folder(tmp_path.as_uri())

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(type(folder.fs), "cat_file", full)
    with pytest.raises(MemoryError):
        folder.read("a.png")


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_places(tmp_path, scheme):
    folder = Folder(tmp_path.as_uri() if scheme == "file" else f"memory://{tmp_path.name}")
    assert folder.is_empty()
    folder.write("a/b.png", b"first")
    folder.write("a/b.png", b"second")
    (tmp_path / "on disk").write_bytes(b"third")
    folder.write("C.PNG", tmp_path / "on disk")
    assert folder.names(frozenset({".png"})) == (["C.PNG", "a/b.png"], [])
    assert (folder.read("a/b.png"), read(folder.url_of("C.PNG"), 1, 3)) == (b"second", b"hi")
    assert (folder.has("a/b.png"), folder.has("b.png"), folder.is_empty()) == (True, False, False)
    with pytest.raises(errors.InputError, match="cannot read"):
        folder.read("b.png")
    if scheme == "file":
        (tmp_path / "taken").mkdir()
        with pytest.raises(errors.OutputError, match="cannot write"):
            folder.write("taken", b"")
        assert list((tmp_path / "taken").iterdir()) == []
        assert not list(tmp_path.rglob(".nicodec.*"))
    planned = plan(folder.url, frozenset({".png"}), 1)
    assert ([source.place for shard in planned.shards for source in shard.sources], planned.pictures) == (
        ["C.PNG", "a/b.png"], 2,
    )  # fmt: skip


@pytest.mark.parametrize(("url", "error"), [
    ("nosuch://a/b", errors.UsageError), ("dask://a", errors.MissingPackageError),
])  # fmt: skip
def test_protocols_that_are_not_there(inside, url, error):
    code, _, err = inside("batch", "encode", url, "coded", *TINY)
    assert code == error.exit_code, err
    assert err.count("\n") == 1


# --- what is refused


def test_a_target_that_holds_other_things(inside, photos, tmp_path):
    (tmp_path / "coded").mkdir()
    (tmp_path / "coded/mine.txt").write_text("precious")
    code, _, err = inside("batch", "encode", "photos", "coded", *TINY)
    assert (code, outputs(tmp_path / "coded")) == (errors.OutputExistsError.exit_code, ["mine.txt"])
    assert inside("batch", "encode", "photos", "coded", "-f", *TINY)[0] == 0
    code, _, err = inside("batch", "encode", "photos", "coded", *TINY, "-q", "5")
    assert code == errors.OutputExistsError.exit_code
    assert "quality was 60.0, is 5.0" in err
    sizes = [(tmp_path / "coded" / name).stat().st_size for name in outputs(tmp_path / "coded")]
    assert inside("batch", "encode", "photos", "coded", "-f", *TINY, "-q", "5")[0] == 0
    assert sum(sizes) > sum((tmp_path / "coded" / name).stat().st_size for name in outputs(tmp_path / "coded"))
    assert report(tmp_path / "coded")["done"] == 10


@pytest.mark.parametrize(("call", "error"), [
    (("encode", "photos", "coded", "--model", "nobodys"), errors.MissingPartError),
    (("encode", "photos", "coded", *TINY, "-q", "101"), errors.UsageError),
    (("encode", "photos", "coded", *TINY, "--address", "auto"), errors.UsageError),
    (("decode", "photos", "coded", "--tau", "0,1"), errors.UsageError),
    (("encode", "photos", "photos/0.png", *TINY), errors.OutputExistsError),
])  # fmt: skip
def test_calls_that_cannot_be_meant(inside, photos, call, error):
    code, _, err = inside("batch", *call)
    assert code == error.exit_code, err
    assert err.splitlines()[-1].startswith("nicodec: error: ")


@pytest.mark.parametrize("package", ["fsspec", "pyarrow", "ray"])
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, package):
    source = "list.parquet" if package == "pyarrow" else "photos"
    (tmp_path / "photos").mkdir()
    pictures.image(9, 9).save(tmp_path / "photos" / "a.png")
    (tmp_path / "list.parquet").write_bytes(b"")
    script = (
        f"import sys; sys.modules[{package!r}] = None; "
        f"sys.argv = ['nicodec', 'batch', 'encode', {source!r}, 'coded', '--model', 'tiny', '--engine', 'ray']; "
        "from nicodec.cli.main import run; run()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == errors.MissingPackageError.exit_code, done.stderr
    advice = f"this takes {package}, which is not installed: pip install 'nicodec[scale]'"
    assert done.stderr == f"nicodec: error: {advice}\n"
