"""Where users are: arrays, tensors, file objects, Pillow."""

import array
import io
import mmap
import pickle

import numpy as np
import pictures
import pytest
import torch
from PIL import Image, ImageCms

import nicodec
from nicodec import errors
from nicodec.options import DecodeOptions

OPTIONS = {"model": "tiny", "device": "cpu"}


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_arrays_and_tensors_are_pictures(mode):
    image = pictures.image(40, 30, mode)
    array = np.asarray(image)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    expected = nicodec.encode(image, **OPTIONS)
    tensor = torch.from_numpy(planes.copy())
    for given in (array, array.astype(np.float32) / 255, tensor, tensor.float() / 255):
        assert nicodec.encode(given, **OPTIONS) == expected


@pytest.mark.parametrize("array", [
    np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.uint16),
    np.full((4, 4), 1.5), np.full((4, 4), -0.1), np.full((4, 4), np.nan), torch.zeros(5, 4, 3), "3",
])  # fmt: skip
def test_arrays_that_are_no_pictures(array):
    expected = errors.InputError if isinstance(array, str) else errors.UnsupportedPictureError
    with pytest.raises(expected):
        nicodec.encode(array, **OPTIONS)


def test_file_objects():
    source = pictures.file_bytes(pictures.image(40, 30))
    data = nicodec.encode(io.BytesIO(source), **OPTIONS)
    assert data == nicodec.encode(source, **OPTIONS)
    assert nicodec.decode(io.BytesIO(data), device="cpu").size == (40, 30)
    assert nicodec.read_info(io.BytesIO(data)) == nicodec.read_info(data)


def buffers(data, folder):
    """The same bytes as each kind of buffer that Python knows."""
    (folder / "held").write_bytes(data)
    with open(folder / "held", "rb") as file:  # noqa: PTH123
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    every_other = memoryview(bytes(byte for pair in zip(data, data, strict=True) for byte in pair))[::2]
    return [bytearray(data), memoryview(data), every_other, array.array("B", data), mapped]


def test_buffers_are_bytes(tmp_path):
    source = pictures.file_bytes(pictures.image(40, 30))
    data = nicodec.encode(source, **OPTIONS)
    assert [nicodec.encode(held, **OPTIONS) for held in buffers(source, tmp_path)] == [data] * 5
    expected = nicodec.decode(data, device="cpu").tobytes()
    for held in [*buffers(data, tmp_path), np.frombuffer(data, np.uint8)]:
        assert nicodec.read_info(held) == nicodec.read_info(data)
    for held in [*buffers(data, tmp_path), np.frombuffer(data, np.uint8)]:
        assert nicodec.decode(held, device="cpu").tobytes() == expected


@pytest.mark.parametrize("read", [nicodec.read_info, nicodec.decode, nicodec.encode])
@pytest.mark.parametrize(("given", "error"), [
    (None, errors.UsageError), (7, errors.UsageError), (object(), errors.UsageError), (io.StringIO("text"),
    errors.UsageError), (bytearray(), errors.NicodecError), ("a\0b", errors.InputError), ("n" * 300, errors.InputError),
])  # fmt: skip
def test_what_holds_no_bytes(read, given, error):
    with pytest.raises(error):
        read(given)


def test_frames_and_deep_samples():
    frames = [pictures.image(20, 20), pictures.image(20, 20).rotate(90)]
    data = pictures.file_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    expected = nicodec.decode(nicodec.encode(frames[1], **OPTIONS), device="cpu")
    with Image.open(io.BytesIO(data)) as image:
        for given in (data, image):
            back = nicodec.decode(nicodec.encode(given, frame=1, **OPTIONS), device="cpu")
            assert np.array_equal(np.asarray(back), np.asarray(expected))
        image.seek(1)
        assert nicodec.encode(image, **OPTIONS) == nicodec.encode(frames[1], **OPTIONS)
        assert nicodec.encode(image, frame=0, **OPTIONS) == nicodec.encode(frames[0], **OPTIONS)
        assert image.tell() == 1
        with pytest.raises(errors.InputError, match="frame is 2"):
            nicodec.encode(image, frame=2, **OPTIONS)
        assert image.tell() == 1
    with pytest.raises(errors.UnsupportedPictureError):
        nicodec.encode(pictures.deep_png(), **OPTIONS)
    assert nicodec.decode(nicodec.encode(pictures.deep_png(), allow_8bit=True, **OPTIONS), device="cpu").size == (2, 2)


@pytest.fixture
def plugin():
    nicodec.register_pillow_plugin()
    nicodec.register_pillow_plugin()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_saves_and_opens(plugin, tmp_path, mode):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    image = pictures.image(40, 30, mode)
    image.save(tmp_path / "a.nic", quality=30, exif=exif.tobytes(), icc_profile=b"profile" * 9, **OPTIONS)
    data = (tmp_path / "a.nic").read_bytes()
    assert nicodec.read_info(data)["quality"] == pytest.approx(30, abs=0.01)
    with Image.open(tmp_path / "a.nic") as opened:
        assert (opened.format, opened.mode, opened.size) == ("NIC", mode, (40, 30))
        assert opened.info["icc_profile"] == b"profile" * 9
        assert opened.getexif()[0x010F] == "a maker"
        assert opened.data is not None, "no pixels were decoded yet"
        opened.options = DecodeOptions(device="cpu")
        assert np.array_equal(np.asarray(opened), np.asarray(nicodec.decode(data, device="cpu")))
        assert opened.resize((5, 5)).size == (5, 5)


def test_pillow_takes_metadata_as_its_own_formats_do(plugin):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010F] = "a maker"
    pictures.image(20, 20).save(buffer, "NIC", exif=exif, dpi=(300, 150), **OPTIONS)
    kept = Image.open(buffer).getexif()
    assert (kept[0x010F], kept[0x011A], kept[0x011B]) == ("a maker", 300, 150)


def test_pillow_says_what_is_wrong_with_a_file(plugin):
    data = nicodec.encode(pictures.image(40, 30), **OPTIONS)
    with pytest.raises(errors.CorruptFileError):
        Image.open(io.BytesIO(data[:-9]))


def test_pillow_raises_what_its_callers_expect(plugin, monkeypatch, tmp_path):
    """OSError for files, ValueError for options, as of Pillow's own formats; and processes can hand them on."""
    data = nicodec.encode(pictures.image(40, 30), **OPTIONS)
    for broken in (data[:-9], data[:20], data[:40] + b"?" + data[41:], data[:4] + b"\xff" + data[5:]):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            Image.open(io.BytesIO(broken)).load()
        assert isinstance(caught.value, errors.NicodecError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    opened = Image.open(io.BytesIO(data))
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(OSError, match="not installed"):
        opened.load()
    with pytest.raises(OSError, match="bits a sample"):
        Image.new("F", (4, 4)).save(tmp_path / "a.nic")
    with pytest.raises(ValueError, match="quality is 101"):
        pictures.image(4, 4).save(tmp_path / "a.nic", quality=101)
    assert list(tmp_path.iterdir()) == []


def test_pillow_closes_the_file(plugin, tmp_path):
    pictures.image(40, 30).save(tmp_path / "a.nic", **OPTIONS)
    opened = Image.open(tmp_path / "a.nic")
    file = opened.fp
    opened.options = DecodeOptions(device="cpu")
    opened.load()
    assert file.closed
    assert opened.fp is None
    assert opened.getpixel((0, 0)) == opened.copy().getpixel((0, 0))
    with (tmp_path / "a.nic").open("rb") as lent:  # what the caller opened, the caller closes
        opened = Image.open(lent)
        opened.options = DecodeOptions(device="cpu")
        opened.load()
        assert not lent.closed
    again = pickle.loads(pickle.dumps(opened))
    assert (again.size, again.tobytes()) == (opened.size, opened.tobytes())


def test_pillow_names_options_that_are_none(plugin, tmp_path):
    with pytest.raises(errors.UsageError, match=r"qualty, speed; known: .*quality.*xmp"):
        pictures.image(4, 4).save(tmp_path / "a.nic", qualty=5, speed=1, **OPTIONS)
    assert not (tmp_path / "a.nic").exists()
    with pytest.raises(errors.DamagedPartError):  # a path may be a string
        pictures.image(4, 4).save(tmp_path / "a.nic", base="compressai:mbt2018-mean-q3", base_weights="nowhere")
    Image.fromarray(np.arange(200, dtype=np.uint16).reshape(10, 20)).save(
        tmp_path / "a.nic", allow_8bit=True, **OPTIONS
    )


def test_pillow_opens_grey_under_a_profile_for_rgb(plugin):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    pictures.image(40, 30, "LA").save(buffer, "NIC", icc_profile=profile, **OPTIONS)
    opened = Image.open(buffer)
    opened.options = DecodeOptions(device="cpu")
    assert opened.mode == "RGBA"
    assert np.array_equal(np.asarray(opened), np.asarray(nicodec.decode(buffer.getvalue(), device="cpu")))


def test_the_package_is_typed():
    from pathlib import Path

    assert (Path(nicodec.__file__).parent / "py.typed").is_file()
