"""Plans: one command from pictures to a package, that goes on where it was stopped, and with nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pictures
import pytest
import torch
import toy
from PIL import Image

import nicodec
from nicodec.errors import TrainingRunError, UsageError
from nicodec.networks.base import BaseConfig
from nicodec.training.family import Family
from nicodec.training.plan import read_plan
from nicodec.training.ranks import launch
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.store import find_package, packages, search_path
from nicodec.zoo.stored import read_config

ROOT = Path(__file__).parents[1]
PLANS = ROOT / "models" / "plans"
SHORT = """
name = "short"
summary = "a base alone"

[[stages]]
stage = "sq"
processes = 2
steps = 1000000
batch = 1
crop = 64
doublings = []
warmup = 2

[stages.config]
latent = 16
hyper = 4
wide_8 = 8
wide_16 = 8
depth_8 = 1
depth_16 = 1
context = 8
scale_context = 8

[stages.export]
count = 1
side = 64
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Pictures, and SqueezeNet weights that are random."""
    from torchvision.models import squeezenet1_1

    folder = tmp_path_factory.mktemp("given")
    for name, count in (("data", toy.COUNT), ("held-out", 1)):
        (folder / name).mkdir()
        for index in range(count):
            Image.fromarray(toy.picture(index)).save(folder / name / f"{index:02}.png")
    pictures.image(520, 512).save(folder / "held-out" / "large.png")
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / "squeezenet.pth")
    return folder


@pytest.fixture
def words(given, tmp_path):
    """What the command is told, for a plan that is carried out in OUT."""
    return lambda plan, *options: ["train", "plan", plan, "--data", given / "data", "--out", tmp_path / "out",
                                   "--device", "cpu", *options]  # fmt: skip


@pytest.fixture
def follow(words):
    """Carry out a plan as a process: returns it, or, `wait`, its exit code and what it said."""

    def call(*plan, wait=True):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "nicodec", *map(str, words(*plan))], env=environment,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        if not wait:
            return process
        _, said = process.communicate(timeout=500)
        return process.returncode, said

    return call


@pytest.fixture
def again(words, inside):
    """As `follow`, but in this process, which torch need not start for."""

    def call(*plan):
        code, _, said = inside(*words(*plan))
        return code, said

    return call


def text_of(folder, text, name="plan.toml"):
    (folder / name).write_text(text)
    return folder / name


NEXT = """
name = "next"
summary = "what paints in the toy, begun as it is"
base = "toy"
"""
STILL = """
[[stages]]
stage = "{stage}"
predecessor = "toy"
steps = 1
batch = 1
crop = 64
doublings = []
learning_rate = 0
"""


@pytest.mark.timeout(900)
def test_the_toy_plan_makes_a_whole_family(follow, again, given, tmp_path, monkeypatch):
    options = ("--trunk", given / "squeezenet.pth")
    code, said = follow(PLANS / "toy.toml", *options)
    assert code == 0, said
    package = read_manifest(tmp_path / "out" / "models" / "toy" / "model.toml")
    assert package.parts.keys() == {"base", "dictionary", "vq", "fuser", "mode", "texture", "restorer", "trust"}
    assert {kind for kind, part in package.parts.items() if not part.graphs} == {"texture"}
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "out" / "models"))
    for references, tokens in ((1, "vq"), ("off", "texture")):
        coded = nicodec.encode(pictures.image(70, 60), model="toy", device="cpu", references=references, drawn="off")
        assert tokens in nicodec.read_info(coded)["tokens"]
        for anchor in ("fidelity", "perception"):
            assert nicodec.decode(coded, anchor=anchor, tau=0.5, device="cpu").size == (70, 60)
    assert (tmp_path / "out" / "report.md").read_text().count("| finished |") == 10
    kept = nicodec.encode(pictures.file_bytes(pictures.image(70, 60), "JPEG"), base="jpeg")
    restored = nicodec.decode(kept, tau=0.5, device="cpu")
    assert restored.size == (70, 60)

    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}
    code, said = again(PLANS / "toy.toml", *options)
    assert (code, "begins" in said) == (0, False), said
    assert changed == {path: path.stat().st_mtime_ns for path in changed}
    text = NEXT + "".join(STILL.format(stage=stage) for stage in ("aux", "fuser", "restorer"))
    text += "[stages.config]\ndepth_16 = 2\ndepth_8 = 3\n"
    code, said = again(text_of(tmp_path, text), *options, "--out", tmp_path / "next")
    assert code == 0, said
    heir = read_manifest(tmp_path / "next" / "models" / "next" / "model.toml")
    assert heir.parts.keys() == {"base", "texture", "trust", "fuser", "restorer"}
    for kind in ("base", "texture", "trust", "fuser"):
        assert (heir.parts[kind].id, heir.parts[kind].graphs) == (package.parts[kind].id, package.parts[kind].graphs)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "next" / "models"))
    assert nicodec.decode(kept, tau=0.5, device="cpu").tobytes() == restored.tobytes()  # more blocks, which do nothing

    longer = text_of(tmp_path, (PLANS / "toy.toml").read_text().replace("steps = 4", "steps = 6"), "toy.toml")
    code, said = again(longer, *options)
    assert code == 15
    assert "stage sq is to go on, but dictionary is begun on what it was" in said


@pytest.mark.timeout(900)
def test_a_plan_that_is_stopped_goes_on_and_may_only_be_prolonged(follow, again, given, tmp_path):
    plan, options = text_of(tmp_path, SHORT), ("--validation", given / "held-out")
    process = follow(plan, *options, wait=False)
    record = tmp_path / "out" / "sq" / "record.jsonl"
    deadline = time.monotonic() + 300
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert (process.returncode, "sq: stopped" in said) == (0, True), said
    assert "| sq | begun |" in (tmp_path / "out" / "report.md").read_text()
    steps = torch.load(tmp_path / "out" / "sq" / "state.pt", weights_only=True)["step"]
    assert steps >= 1

    noted = json.loads((tmp_path / "out" / "plan.json").read_text())
    data = {name: noted[name] for name in ("training pictures", "validation pictures")}
    for was, is_, expected in (
        ("warmup = 2", "warmup = 3", "warmup was 2, is 3"), ("hyper = 4", "hyper = 8", "hyper was 4, is 8"),
        ("count = 1", "count = 2", "export.count was 1, is 2"), ('"short"', '"other"', "begun with another name"),
        ("steps = 1000000", f"steps = {steps}", "not into the past"), ("processes = 2", "", "processes was 2, is 1"),
    ):  # fmt: skip
        changed = read_plan(text_of(tmp_path, SHORT.replace(was, is_)))
        with pytest.raises(TrainingRunError, match=expected) as refusal:
            Family(changed, tmp_path / "out", data)
        assert "\n" not in str(refusal.value)

    longer = text_of(tmp_path, SHORT.replace("steps = 1000000", f"steps = {steps + 2}\ndecay = 0.2"))
    code, said = again(longer, *options)
    assert code == 0, said
    assert "bpp_psnr" in (tmp_path / "out" / "report.md").read_text()
    state = torch.load(tmp_path / "out" / "sq" / "state.pt", weights_only=True)
    assert state["step"] == steps + 2
    assert (tmp_path / "out" / "models" / "short" / "base.safetensors").exists()
    assert json.loads((tmp_path / "out" / "sq" / "run.json").read_text())["processes"] == 2


def test_other_data_is_refused_on_resume(tmp_path):
    plan = read_plan(text_of(tmp_path, SHORT))
    family = Family(plan, tmp_path / "out", {"training pictures": "aa", "validation pictures": None})
    family.begin(plan.stages[0])
    assert Family(plan, tmp_path / "out", {"training pictures": "aa", "validation pictures": None}).notes["begun"]
    for other in ({"training pictures": "bb", "validation pictures": None},
                  {"training pictures": "aa", "validation pictures": "cc"}):  # fmt: skip
        with pytest.raises(TrainingRunError, match=r"was begun with another (training|validation) pictures"):
            Family(plan, tmp_path / "out", other)


def test_another_base_is_refused_on_resume(tmp_path):
    one, other = (read_plan(text_of(tmp_path, NEXT.replace('"toy"', f'"{name}"') + STILL.format(stage="aux")))
                  for name in ("tiny", "toy"))  # fmt: skip
    Family(one, tmp_path / "out", {}).begin(one.stages[0])
    assert Family(one, tmp_path / "out", {}).notes["base"] == "tiny"
    with pytest.raises(TrainingRunError, match="was begun with another base: tiny, now toy"):
        Family(other, tmp_path / "out", {})


@pytest.mark.parametrize(("was", "is_", "said"), [
    ("steps", "stepz", "unknown key 'stepz'"), ("hyper", "hypr", "unknown key 'hypr'"),
    ("count", "counts", "unknown key 'counts'"), ("name", "nam", "unknown key 'nam'"),
    ('stage = "sq"', 'stage = "sqq"', "expected stage = one of"), ("batch = 1", "batch = 1.5", "batch is 1.5"),
    ("crop = 64", "crop = 100", "multiple of 64"), ("batch = 1", "batch = 0", "expected 1 or more"),
    ("[[stages]]", '[[stages]]\nstage = "mode"\n[[stages]]', "with vq before it"),
    ("[[stages]]", '[[stages]]\nstage = "foreign"\n[[stages]]', "stage 2 is sq, expected once"),
    ("[[stages]]", '[[stages]]\nstage = "foreign"\n[[stages]]\nstage = "restorer"\n[[stages]]', "with sq before it"),
    ("[[stages]]", '[[stages]]\nstage = "foreign"\nconfig = {quality = 9}\n[[stages]]', "expected 1 to 8"),
    ('"short"', '"../short"', "name is '../short'"),
    ("doublings = []", "doublings = 0.5", "expected tuple"), ("warmup = 2", "decay = inf", "decay is inf"),
    ("[[stages]]", "[stages]", "expected list"), ("[stages.config]", "config = 3\n[stages.x]", "expected dict"),
    ("latent = 16", "latent = 17", "do not make 2 equal slices"), ('name = "short"', 'name = "x"\nbase = "y"', "once"),
])  # fmt: skip
def test_what_is_no_plan_is_refused_by_name(tmp_path, was, is_, said):
    assert was in SHORT
    with pytest.raises(UsageError) as refusal:
        read_plan(text_of(tmp_path, SHORT.replace(was, is_)))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_stage_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="stage 2 is sq, expected once"):
        read_plan(text_of(tmp_path, SHORT + SHORT[SHORT.index("[[stages]]") :]))


def test_the_plans_that_are_shipped_can_be_read():
    read_plan(PLANS / "toy.toml")
    plan = read_plan(PLANS / "cpu.toml")
    base = BaseConfig(**plan.stages[0].config)
    assert (base.tunes, base.context_depth, base.depth_16, base.lambda_max, base.eased) == (2, 2, 4, 0.64, 4.0)
    assert (base.latent, base.slices) == (480, 3)
    assert plan.stages[0].schedule.decay == 0.2
    theirs, with_tau = read_plan(PLANS / "compressai.toml"), read_plan(PLANS / "compressai-tau.toml")
    assert (theirs.name, [stage.name for stage in theirs.stages], with_tau.base) == ("mean3", ["foreign"], "mean3")
    on_top = read_plan(PLANS / "gpu.toml")
    assert (plan.name, on_top.name, on_top.base) == ("base2", "base2", "base2")
    (restorer,) = (stage for stage in on_top.stages if stage.name == "restorer")
    shipped = read_config(find_package("base2").parts["restorer"])
    assert {name: shipped[name] for name in restorer.config} == restorer.config


def test_a_plan_on_a_base_needs_what_it_starts_as(again, given, tmp_path):
    text = NEXT.replace('"toy"', '"tiny"') + STILL.format(stage="restorer").replace('"toy"', '"tiny"')
    code, said = again(text_of(tmp_path, text), "--trunk", given / "squeezenet.pth")
    assert (code, "model tiny has no restorer to start as" in said) == (9, True), said


def test_plans_lie_beside_packages_and_are_none(monkeypatch):
    monkeypatch.delenv("NICODEC_MODELS")
    broken = []
    assert "plans" not in {package.folder.name for package in packages(broken)}
    assert broken == []
    assert PLANS.parent in search_path()


def test_a_critic_is_asked_for_before_anything_is_done(follow, tmp_path):
    code, said = follow(PLANS / "toy.toml")
    assert code == 2
    assert "vq, aux, fuser, mode, restorer of" in said
    assert "--trunk" in said
    assert not (tmp_path / "out").exists()


def test_nothing_is_copied_before_a_critic_is_there(again, tmp_path):
    code, said = again(text_of(tmp_path, NEXT.replace('"toy"', '"tiny"') + STILL.format(stage="aux")))
    assert (code, "--trunk" in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_what_a_process_raises_is_raised_and_the_others_end():
    with pytest.raises(UsageError, match="rank 1"):
        launch(2, fail_in_the_second)


def fail_in_the_second():
    if os.environ["RANK"] == "1":
        raise UsageError("it is rank 1")
    time.sleep(600)
