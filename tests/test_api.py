"""Where users are: arrays, tensors, file objects, Pillow."""

import array
import io
import mmap

import numpy as np
import pictures
import pytest
import torch
from PIL import Image

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


def test_the_package_is_typed():
    from pathlib import Path

    assert (Path(nicodec.__file__).parent / "py.typed").is_file()
