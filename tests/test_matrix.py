"""The golden files under everything that makes floats differ between machines; `nicodec conformance` shows the same."""

import json
import os
import shutil
import sys

import pytest

from nicodec import errors
from nicodec.conformance import golden
from nicodec.conformance.matrix import MATRIX, Setting, check_under


@pytest.mark.parametrize("name", MATRIX)
def test_symbols_do_not_depend_on(name):
    check_under(MATRIX[name])


def test_the_settings_of_torch_are_left_out_where_there_is_none(monkeypatch):
    from nicodec.cli import conformance
    from nicodec.conformance import matrix

    monkeypatch.setattr(golden, "golden_files", list)
    monkeypatch.setattr(matrix, "MATRIX", {"it alone": Setting(), "careless host": Setting(careless=True)})
    monkeypatch.setattr(matrix, "check_under", lambda setting: "the same symbols")
    monkeypatch.setenv("NICODEC_MODELS", os.environ["NICODEC_MODELS"])
    assert [row.name for row in conformance._rows()] == ["it alone", "careless host"]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert [row.name for row in conformance._rows()] == ["it alone"]
    assert conformance._version("no-such-library") == "not installed"


def test_what_a_process_says_is_passed_on():
    with pytest.raises(errors.ConformanceError, match="not installed"):
        check_under(Setting({"NICODEC_MODELS": ""}))


def test_the_command_prints_a_table_and_names_what_fails(monkeypatch, tmp_path, capsys):
    """On one good golden file and one with other symbols; under two settings, for each takes seconds."""
    from nicodec.cli import main
    from nicodec.conformance import matrix

    for path in golden.golden_folder().glob("rgb-1x1-q60*"):
        shutil.copy(path, tmp_path)
        shutil.copy(path, tmp_path / path.name.replace("q60", "off"))
    (tmp_path / "models").symlink_to(golden.golden_folder() / "models")
    facts = json.loads((tmp_path / "rgb-1x1-off.json").read_text())
    (tmp_path / "rgb-1x1-off.json").write_text(json.dumps({**facts, "tiles": 3}))
    monkeypatch.setattr(golden, "golden_folder", lambda: tmp_path)
    monkeypatch.setattr(matrix, "MATRIX", {"as it is": Setting()})
    monkeypatch.setattr(sys, "argv", ["nicodec", "conformance"])
    monkeypatch.setenv("NICODEC_MODELS", os.environ["NICODEC_MODELS"])  # the command changes it
    with pytest.raises(SystemExit) as exit_:
        main.run()
    out, err = capsys.readouterr()
    assert exit_.value.code == errors.ConformanceError.exit_code
    lines = [line.split()[:4] for line in out.splitlines()]
    assert lines[:2] == [["file", "rgb-1x1-off", "FAILS", "ConformanceError:"], ["file", "rgb-1x1-q60", "holds", "the"]]
    assert out.splitlines()[2].split() == ["setting", *["as", "it", "is", "holds", "the", "same", "symbols"]]
    assert "torch" in out.splitlines()[3]
    assert "1 of 3 checks fail" in err
