"""`nicodec desktop`: with a data folder of its own, and with the desktop's own tools where they are."""

import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from configparser import ConfigParser

import numpy as np
import pictures
import pytest
from PIL import Image

import nicodec as codec
from nicodec.container.layout import MAGIC, MIME_TYPE

SPACE = "{http://www.freedesktop.org/standards/shared-mime-info}"
linux = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="freedesktop's files are for Linux")
pytestmark = linux


@pytest.fixture
def desktop(nicodec, tmp_path):
    """Call `nicodec desktop`, with a data folder in the test's own: exit code, stderr."""

    def call(*arguments, **environment):
        code, _, said = nicodec("desktop", *arguments,
                                environment={"XDG_DATA_HOME": str(tmp_path / "data"), **environment})  # fmt: skip
        return code, said

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a b.nic"
    path.write_bytes(codec.encode(pictures.image(300, 200), model="tiny", device="cpu", drawn="off"))
    return path


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_install_and_remove(desktop, tmp_path):
    written = {tmp_path / "data/mime/packages/nicodec.xml", tmp_path / "data/thumbnailers/nicodec.thumbnailer"}
    for _ in range(2):  # again does no harm
        code, said = desktop("install")
        assert code == 0, said
        assert all(path.is_file() and f"wrote {path}" in said for path in written)
    code, said = desktop("remove")
    assert code == 0, said
    assert not any(path.exists() for path in written)
    code, said = desktop("remove")
    assert (code, "nothing to remove" in said) == (0, True)


def test_the_mime_type_is_the_formats_own(desktop, tmp_path):
    desktop("install")
    (kind,) = ET.parse(tmp_path / "data/mime/packages/nicodec.xml").getroot()
    assert kind.get("type") == MIME_TYPE
    match = kind.find(f"{SPACE}magic/{SPACE}match")
    assert match.get("value").encode().decode("unicode_escape").encode("latin-1") == MAGIC
    assert (match.get("offset"), kind.find(f"{SPACE}glob").get("pattern")) == ("0", "*.nic")


def test_the_desktop_knows_the_type(desktop, tmp_path, file):
    gio, _ = tool("gio"), tool("update-mime-database")
    desktop("install")
    unnamed = tmp_path / "unnamed"  # by its magic
    unnamed.write_bytes(file.read_bytes())
    named = tmp_path / "named.nic"  # by its name
    named.write_bytes(bytes(range(200)))
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    for path in (file, unnamed, named):
        said = subprocess.run([gio, "info", "-a", "standard::content-type,standard::fast-content-type", path],
                              env=environment, capture_output=True, text=True, check=True).stdout  # fmt: skip
        assert MIME_TYPE in said
    desktop("remove")
    said = subprocess.run([gio, "info", "-a", "standard::content-type", file], env=environment, capture_output=True,
                          text=True, check=True).stdout  # fmt: skip
    assert MIME_TYPE not in said


def test_xdg_mime_knows_the_type(desktop, tmp_path, file):
    xdg, _ = tool("xdg-mime"), tool("update-mime-database")
    desktop("install")
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CURRENT_DESKTOP": "GNOME"}
    found = subprocess.run(
        [xdg, "query", "filetype", file], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == MIME_TYPE


@pytest.mark.parametrize("side", [64, 128, 1024])
def test_the_thumbnailer_does_what_the_desktop_asks(side, desktop, tmp_path, file):
    desktop("install")
    entry = ConfigParser(interpolation=None)
    entry.read(tmp_path / "data/thumbnailers/nicodec.thumbnailer", encoding="utf-8")
    (section,) = entry.sections()
    assert section == "Thumbnailer Entry"
    held = entry[section]
    assert held["MimeType"] == f"{MIME_TYPE};"
    assert shutil.which(held["TryExec"])
    output = tmp_path / "out.png"
    output.touch()  # as GNOME does
    said = {"%i": str(file), "%o": str(output), "%s": str(side)}
    words = [said.get(word, word) for word in shlex.split(held["Exec"])]
    root = os.path.dirname(os.path.dirname(codec.__file__))  # noqa: PTH120
    subprocess.run(words, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root})
    with Image.open(output) as image:
        assert image.format == "PNG"
        assert image.size == {64: (64, 43), 128: (128, 85), 1024: (300, 200)}[side]
        whole = codec.decode(file, device="cpu").resize(image.size, Image.Resampling.BOX)
        assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 12  # a toy model, without its g_s


def test_errors_are_one_line(desktop, tmp_path, file):
    (tmp_path / "data").write_text("no folder")
    for words, code in {("install",): 13, ("thumbnail", "missing.nic", "a.png", "64"): 3,
                        ("thumbnail", str(file), "no/where.png", "64"): 13,
                        ("thumbnail", str(file), "a.png", "0"): 2}.items():  # fmt: skip
        found, said = desktop(*words)
        assert found == code, said
        assert said.count("\n") == 1 or code == 2
        assert "Traceback" not in said
    (tmp_path / "b.nic").write_bytes(b"no such file")
    assert desktop("thumbnail", "b.nic", "a.png", "64")[0] == 5


def test_without_the_tool_the_files_are_there(desktop, tmp_path):
    code, said = desktop("install", PATH=str(tmp_path))
    assert code == 0
    assert "update-mime-database is not installed" in said
    assert (tmp_path / "data/mime/packages/nicodec.xml").is_file()


def test_a_relative_data_folder_is_none(nicodec, tmp_path):
    code, _, said = nicodec("desktop", "install", environment={"XDG_DATA_HOME": "data", "HOME": str(tmp_path / "home")})
    assert code == 0, said
    assert (tmp_path / "home/.local/share/mime/packages/nicodec.xml").is_file()
