"""Other people's codecs as bases: CompressAI's own strings in our container, and tau on top. Random weights."""

import json
import os
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from compressai.zoo import image_models

import nicodec as package
from nicodec import errors
from nicodec.codec import verify_bytes
from nicodec.container.layout import Foreign, Section, SectionType, foreign_shape
from nicodec.container.payloads import read_foreign
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_foreign
from nicodec.foreign import isolated
from nicodec.foreign.adapters import ARCHITECTURES, ForeignBase, fill, symbols_crc
from nicodec.foreign.fetch import fetch
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.training.data import Pictures
from nicodec.training.export import export_network
from nicodec.training.foreign import ForeignConfig, ForeignStage
from nicodec.zoo.load import load_foreign
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.xdist_group("foreign")


@contextmanager
def fetched(architecture, folder):
    """A package of one architecture: its name, folder and the model."""
    torch.manual_seed(0)
    model = image_models[architecture](quality=1, metric="mse", pretrained=False).eval()
    model.g_a[-1].weight.data *= 300  # symbols are not all 0
    torch.save(model.state_dict(), folder / "published.pth.tar")
    fetch(f"compressai:{architecture}-q1", folder / "mine", folder / "published.pth.tar")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder))
        model.update()
        yield f"compressai:{architecture}-q1", folder / "mine", model


@pytest.fixture(scope="module", params=["bmshj2018-factorized", "mbt2018-mean", "cheng2020-anchor"])
def base(request, tmp_path_factory):
    with fetched(request.param, tmp_path_factory.mktemp("foreign")) as package:
        yield package


@pytest.fixture
def mean(tmp_path):
    """One architecture, where which it is does not matter."""
    with fetched("mbt2018-mean", tmp_path) as package:
        yield package


def encode(base, image, **options):
    return package.encode(image, base=base[0], base_weights=base[1] / "base.safetensors", device="cpu", **options)


def decode(data, **options):
    return np.asarray(package.decode(data, device="cpu", **options)).astype(int)


@pytest.mark.parametrize("size", [(64, 64), (70, 30)])
def test_the_strings_are_compressais_own_and_so_is_the_picture(base, size):
    name, _, model = base
    image = pictures.image(*size)
    data = encode(base, image)
    foreign = read_foreign(read_file(data))
    x = fill(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255)
    with torch.inference_mode():
        out = model.compress(x)
        expected = model.decompress(out["strings"], out["shape"])["x_hat"][0, :, : size[1], : size[0]]
    assert foreign.name == name
    assert foreign.strings == [string for (string,) in out["strings"]]
    assert np.abs(decode(data) - (expected * 255).round().permute(1, 2, 0).numpy()).max() <= 1
    assert np.array_equal(decode(data, crop=(5, 7, 20, 10)), decode(data)[7:17, 5:25])
    assert package.encode(image, model="mine", device="cpu") == data


def test_alpha_grey_and_metadata_are_as_with_our_own_base(base):
    image = pictures.image(64, 64, "LA")
    image.info["icc_profile"] = b"profile" * 9
    back = package.decode(encode(base, image), device="cpu")
    assert back.mode == "LA"
    assert np.array_equal(np.asarray(back)[..., 1], np.asarray(image)[..., 1])
    assert back.info["icc_profile"] == b"profile" * 9


def test_tau_on_another_codecs_latent(base):
    """Also: a fuser belongs to just these weights."""
    data = encode(base, pictures.image(64, 64))
    with pytest.raises(errors.MissingPartError, match="no fuser"):
        decode(data, tau=0.5)
    channels = load_foreign(find_package("mine").parts["base"], "cpu").channels
    fuser = Denoiser(FuserConfig(channels, 8, 8, 1, 1))
    torch.nn.init.normal_(fuser.g_s.head.weight, std=0.5)
    export_network("fuser", fuser, base[1])
    plain = decode(data)
    far = [np.abs(decode(data, tau=tau) - plain).mean() for tau in (0, 0.5, 1)]
    assert far[0] == 0
    assert 0 < far[1] < far[2]


def test_what_cannot_be_done_is_said(base, tmp_path, monkeypatch):
    name, folder, _ = base
    data = encode(base, pictures.image(64, 64))
    with pytest.raises(errors.UsageError, match="no tokens"):
        decode(data, anchor="perception")
    with pytest.raises(errors.UsageError, match="holds"):
        package.encode(pictures.image(9, 9), base="compressai:mbt2018-q2", base_weights=folder / "base.safetensors")
    with pytest.raises(errors.UsageError, match="takes a file with its weights"):
        package.encode(pictures.image(9, 9), base=name)
    with pytest.raises(errors.LimitError):
        encode(base, pictures.Image.new("RGB", (8192, 2049)))
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(errors.MissingPartError, match="--base-weights"):
        decode(data)
    assert decode(data, base_weights=folder / "base.safetensors").shape == (64, 64, 3)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(errors.DamagedPartError):
        decode(data, base_weights=tmp_path / "junk")


def remade(data, **fields):
    """The file with other fields in its FOREIGN section, all CRCs of the container intact."""
    file = read_file(data)
    header = replace(file.header, version=1) if "crc" in fields else file.header  # which has none
    return write_file(header, [Section(SectionType.FOREIGN, write_foreign(replace(read_foreign(file), **fields)))])


def test_only_the_pictures_own_latent_is_taken(base):
    """A larger one made the decoder read past its string, which ended the process."""
    data = encode(base, pictures.image(70, 30))
    rows, columns = shape = read_foreign(read_file(data)).shape
    assert shape == ((4, 8) if "factorized" in base[0] else (1, 2))
    for other in ((rows + 1, columns), (rows, columns + 1), (rows, columns - 1), (30 // 4 + 64, 70 // 4 + 64), (0, 1)):
        for read in (decode, verify_bytes):
            with pytest.raises(errors.CorruptFileError, match="latent"):
                read(remade(data, shape=other))


def test_strings_that_say_something_else_are_refused(base):
    """All CRCs of the container hold; the one over the symbols does not, or the strings do not decode at all."""
    data = encode(base, pictures.image(64, 64))
    strings = read_foreign(read_file(data)).strings
    middle = len(strings[0]) // 2
    altered = strings[0][:middle] + bytes([strings[0][middle] ^ 16]) + strings[0][middle + 1 :]
    for wrong in ([altered, *strings[1:]], [strings[0][:middle], *strings[1:]], [b"", *strings[1:]], [],
                  [*strings, b"more"]):  # fmt: skip
        for read in (decode, verify_bytes):
            with pytest.raises((errors.InexactError, errors.CorruptFileError)):
                read(remade(data, strings=wrong))
    with pytest.raises(errors.InexactError, match="symbols"):
        decode(remade(data, strings=[altered, *strings[1:]]))
    assert decode(data).shape == (64, 64, 3)


def test_a_file_that_crashes_its_decoder_is_one_of_a_batch(mean, inside, tmp_path):
    """CompressAI's coder reads far beyond a string that is empty: SIGSEGV."""
    data = encode(mean, pictures.image(64, 64))
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.nic").write_bytes(data)
    header, foreign = read_file(data).header, read_foreign(read_file(data))
    crashing = replace(foreign, shape=(16, 16), strings=[b"", b""], crc=0)
    (tmp_path / "b.nic").write_bytes(
        write_file(replace(header, width=1024, height=1024), [Section(SectionType.FOREIGN, write_foreign(crashing))])
    )
    code, _, err = inside("decode", "a.nic", "b.nic", "c.nic", "-o", "out", "--device", "cpu")
    assert code == errors.BatchError.exit_code, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    (line,) = (line for line in err.splitlines() if "error: b.nic" in line)
    assert "SIGSEGV" in line


@pytest.mark.parametrize(("blow", "error"), [(signal.SIGKILL, errors.OutOfMemoryError),
                                             (signal.SIGSTOP, errors.CorruptFileError)])  # fmt: skip
def test_a_decoder_that_is_killed_or_hangs_is_one_files_error(mean, monkeypatch, blow, error):
    """As the kernel does it where memory ends, and as a decoder that never comes back."""
    data = encode(mean, pictures.image(64, 64))
    monkeypatch.setattr(isolated, "PATIENCE", 1.0)
    os.kill(isolated.DECODER._process.pid, blow)
    with pytest.raises(error, match="killed" if blow is signal.SIGKILL else "no end"):
        decode(data)
    monkeypatch.setattr(isolated, "PATIENCE", 120.0)
    assert decode(data).shape == (64, 64, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_memory_that_ends_inside_the_decoder_is_said(mean):
    data = encode(mean, pictures.image(512, 512), verify=False)
    decode(encode(mean, pictures.image(64, 64)))
    process = isolated.DECODER._process.pid
    used = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.prlimit(process, resource.RLIMIT_AS, (used + (1 << 20), -1))
    with pytest.raises(errors.OutOfMemoryError, match="memory"):
        decode(data)
    isolated.DECODER.close()


def test_three_threads_get_what_one_gets(base):
    """Of the model itself, which all share, and of whole decodes."""
    shared = load_foreign(find_package("mine").parts["base"], "cpu")
    files = [encode(base, pictures.image(64, 64).rotate(angle)) for angle in (0, 90, 180)]
    inputs = [torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    def all_of_it(index):
        y_hat, symbols = shared.latent(read_foreign(read_file(files[index])))
        return y_hat, symbols, *shared.code(inputs[index]), decode(files[index])

    alone = [all_of_it(index) for index in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(all_of_it, [0, 1, 2] * 4))
    for index, found in zip([0, 1, 2] * 4, together, strict=True):
        for one, other in zip(alone[index], found, strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(other))


def test_coding_leaves_the_shared_weights_where_they_are(base):
    """A masked convolution of CompressAI puts a new weight in the old one's place, under the feet of other threads."""
    shared = load_foreign(find_package("mine").parts["base"], "cpu")
    before = [parameter.data_ptr() for parameter in shared.parameters()]
    shared.code(torch.rand(1, 3, 64, 64))
    assert [parameter.data_ptr() for parameter in shared.parameters()] == before


def test_info_and_verify_say_what_it_is(base):
    data = encode(base, pictures.image(64, 64))
    assert package.read_info(data)["foreign"]["name"] == base[0]
    verdict = verify_bytes(data)
    assert (verdict.symbols % (4 * 4), verdict.unchecked) == (0, None)
    assert verdict.symbols > 0
    with pytest.raises(errors.CorruptFileError):
        verify_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "no CRC" in verify_bytes(remade(data, crc=None)).unchecked


def test_verify_says_what_it_could_not_check(mean, inside, tmp_path, monkeypatch):
    data = encode(mean, pictures.image(64, 64))
    (tmp_path / "a.nic").write_bytes(data)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "nowhere"))
    code, _, err = inside("verify", "a.nic")
    assert code == 0
    assert "whole, but its symbols are not checked" in err
    assert "--base-weights" in err
    code, _, err = inside("verify", "a.nic", "--json", "--base-weights", mean[1] / "base.safetensors")
    said = json.loads(err)
    assert (code, said["symbols"] > 0, said.get("unchecked")) == (0, True, None)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_decodes_to_the_symbols_it_coded(architecture):
    torch.manual_seed(0)
    model = image_models[architecture](quality=1, metric="mse", pretrained=False).eval()
    model.update()
    foreign_base = ForeignBase(architecture, 1, model.state_dict())
    x = torch.from_numpy(np.asarray(pictures.image(70, 30)).copy()).permute(2, 0, 1)[None].float() / 255
    shape, strings, crc = foreign_base.compress(x)
    assert shape == foreign_shape(foreign_base.name, 70, 30)
    y_hat, symbols = foreign_base.latent(Foreign(foreign_base.name, bytes(8), shape, strings))
    assert y_hat.shape == (1, foreign_base.channels, 4, 8)
    assert symbols.shape == (4 * 8, foreign_base.channels)
    assert symbols_crc(symbols) == crc


def test_all_six_are_known_by_name(tmp_path):
    assert len(ARCHITECTURES) == 6
    with pytest.raises(errors.UsageError, match="known: compressai:"):
        fetch("compressai:nothing-q1", tmp_path, None)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(errors.InputError):
        fetch("compressai:mbt2018-q1", tmp_path / "x", tmp_path / "junk")


PLAN = """
name = "theirs"
summary = "a toy"

[[stages]]
stage = "foreign"
steps = 2
batch = 1
crop = 64
doublings = []

[stages.config]
architecture = "bmshj2018-hyperprior"
quality = 1
"""
STANDING = """
[[stages]]
stage = "{}"
steps = 2
batch = 1
crop = 64
doublings = []
"""


def test_a_plan_trains_one_and_a_fuser_for_it(inside, data, trunk, tmp_path, monkeypatch):
    (tmp_path / "plan.toml").write_text(PLAN + STANDING.format("aux") + STANDING.format("fuser"))
    place = ("--data", data, "--trunk", trunk, "--device", "cpu", "--quiet", "--out", "run")
    code, _, said = inside("train", "plan", "plan.toml", *place)
    assert code == 0, said
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path / "run" / "models"))
    ids = find_package("theirs").parts
    assert ids.keys() == {"base", "fuser"}
    assert ids["fuser"].graphs
    assert load_foreign(ids["base"], "cpu").name == "compressai:bmshj2018-hyperprior-q1"
    coded = package.encode(pictures.image(70, 30), model="theirs", device="cpu")
    assert decode(coded, tau=1.0).shape == (30, 70, 3)
    assert verify_bytes(coded).symbols > 0


def test_it_trains_towards_fewer_bits_and_less_error(data):
    torch.manual_seed(0)
    stage = ForeignStage(ForeignConfig("mbt2018-mean", 1))
    x = Pictures([data], torch.device("cpu"), 128).batch(4, 128)
    optimizer = torch.optim.Adam(stage.module.parameters(), 2e-4)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss, _ = stage.loss(x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert stage.module.entropy_bottleneck.quantiles.grad.abs().max() > 0  # the tables' ends are found, too


def test_in_bf16_its_bits_are_those_of_float32(data):
    """Likelihoods of bf16 would be differences of a few digits."""
    stage = ForeignStage(ForeignConfig("mbt2018-mean", 1))
    stage.module.eval()  # rounds, for noise differs
    x = Pictures([data], torch.device("cpu"), 128).batch(2, 128)
    with torch.no_grad():
        _, exact = stage.loss(x)
        with torch.autocast("cpu", torch.bfloat16):
            _, quick = stage.loss(x)
    assert quick["bpp"] == pytest.approx(exact["bpp"], rel=0.02)
    assert quick["psnr"] == pytest.approx(exact["psnr"], abs=0.1)


@pytest.mark.parametrize("words", [("vq", "--model"), ("restorer", "--model"), ("sq", "--predecessor")])
def test_what_stands_on_a_base_of_ours_says_so(mean, inside, data, trunk, words):
    critic = () if words[0] == "sq" else ("--trunk", trunk)
    given = ("--data", data, "--out", "run", "--device", "cpu", "--crop", "64")
    code, _, said = inside("train", *words, "mine", *critic, *given)
    assert code == 2
    assert "another codec's base, expected one of ours" in said


@pytest.mark.parametrize(
    "name", ["compressai:nothing-q1", "mbt2018-q1", "compressai:mbt2018-q9", "compressai:cheng2020-attn-q7"]
)
def test_training_what_is_not_known_is_refused(inside, data, name):
    code, _, said = inside("train", "foreign", name, "--data", data, "--out", "run")
    assert code == 2
    assert "known: compressai:" in said
