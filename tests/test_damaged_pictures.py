"""Damaged picture files: what is wrong is named, and what can be read is taken on demand only, with a warning."""

import struct
import threading
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageFile

import nicodec as package
from nicodec import errors
from nicodec.image.files import from_pillow, read_picture

CASES = Path(__file__).parent / "cases"
HEAD = 8 + 25  # a PNG file's signature and IHDR


def test_a_wrong_crc_is_named_with_its_chunk():
    data = (CASES / "png_iccp_badcrc.png").read_bytes()
    with pytest.raises(
        errors.InputError, match=r"chunk iCCP at byte 33 has the CRC [0-9a-f]{8}, its content"
    ) as caught:
        read_picture(data)
    assert "--allow-damaged reads the picture without iCCP" in str(caught.value)
    picture = read_picture(data, allow_damaged=True)
    assert picture.icc is None
    assert "read without iCCP" in picture.notes[0]
    assert picture.pixels.shape == (96, 128, 3)


@pytest.mark.parametrize("name", ["IHDR", "gAMA", "tEXt", "PLTE", "IDAT", "IEND"])
def test_every_chunk_is_checked(name):
    image = pictures.image(20, 10).convert("P")
    data = bytearray(pictures.png_with(image, gAMA=struct.pack(">I", 45455), tEXt=b"a\0b"))
    at = data.index(name.encode())
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    with pytest.raises(errors.InputError, match=f"its chunk {name} at byte {at - 4} has the CRC"):
        read_picture(bytes(data))
    if name in ("gAMA", "tEXt", "IDAT", "IEND"):
        picture = read_picture(bytes(data), allow_damaged=True)
        assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
        assert name in picture.notes[0]
    else:
        with pytest.raises(errors.InputError):
            read_picture(bytes(data), allow_damaged=True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM"])
def test_a_truncated_picture_is_taken_on_demand(kind):
    image = pictures.image(200, 150)
    data = pictures.file_bytes(image, kind, **{"interlace": False} if kind == "GIF" else {})
    whole = read_picture(data).pixels.astype(int)
    for length in (len(data) // 2, len(data) - 30):
        with pytest.raises(errors.InputError, match="--allow-damaged takes what can be read"):
            read_picture(data[:length])
        picture = read_picture(data[:length], allow_damaged=True)
        assert "truncated" in picture.notes[0]
        assert "--allow-damaged" not in picture.notes[0]
        assert picture.pixels.shape == whole.shape
        rows = slice(130, None) if kind == "BMP" else slice(20)  # from the bottom up
        assert np.abs(picture.pixels[rows].astype(int) - whole[rows]).mean() < 1
    assert not read_picture(data, allow_damaged=True).notes, "nothing is said of a whole one"


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_no_advice_where_it_would_not_help(kind):
    data = pictures.file_bytes(pictures.image(60, 40), kind)
    for allowed in (False, True):
        with pytest.raises(errors.InputError) as caught:
            read_picture(data[:-30], allow_damaged=allowed)
        assert "--allow-damaged" not in str(caught.value)


def test_the_command_takes_a_truncated_jpeg_on_demand(nicodec, tmp_path):
    name = CASES / "jpg_noeoi.jpg"
    call = ("encode", name, "-o", "a.nic", "--model", "tiny", "--device", "cpu")
    code, _, err = nicodec(*call)
    assert (code, err.count("\n")) == (errors.InputError.exit_code, 1)
    assert "truncated" in err
    assert "--allow-damaged" in err
    code, _, err = nicodec(*call, "--allow-damaged")
    assert code == 0, err
    assert "warning: " in err
    assert "what could be read was taken" in err
    assert package.decode(tmp_path / "a.nic", device="cpu").size == (128, 96)
    assert package.encode(name, allow_damaged=True, model="tiny", device="cpu") == (tmp_path / "a.nic").read_bytes()


def test_tolerance_is_nobody_elses():
    """It is a setting of Pillow's for the whole process: no other thread may get it, and it is as before afterwards."""
    data = pictures.file_bytes(pictures.image(200, 150), "JPEG")[:-300]
    taken = []

    def read(allowed):
        for _ in range(40):
            try:
                read_picture(data, allow_damaged=allowed)
                taken.append(allowed)
            except errors.InputError:
                taken.append(None)

    threads = [threading.Thread(target=read, args=(allowed,)) for allowed in (True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (taken.count(True), taken.count(False), taken.count(None)) == (80, 0, 80)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_pillows_own_tolerance_is_not_ours(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(errors.InputError, match="truncated"):
        read_picture(pictures.file_bytes(pictures.image(60, 40), "JPEG")[:-30])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_an_image_of_a_truncated_file_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.file_bytes(pictures.image(60, 40), "JPEG")[:-30])
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(errors.InputError, match="truncated"):
        from_pillow(image)
