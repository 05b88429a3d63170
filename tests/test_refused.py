"""Files that must be refused, each with its own error: what broken encoders, broken disks and strangers may send."""

from pathlib import Path

import pytest

import nicodec
from nicodec import errors
from nicodec.codec import decode_taus, verify_bytes
from nicodec.options import DecodeOptions

FILES = sorted((Path(__file__).parent / "refused").glob("*/*.nic"))
DECODE_ONLY = {  # what verify does not need: another codec's weights, the dictionary
    "another-codec", "another-dictionary", "references-beyond-the-dictionary", "references-of-other-bits",
    "refers-to-no-file", "refers-to-no-dictionary", "refers-beyond-the-dictionary", "refers-without-a-name",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_refused(path):
    data, expected = path.read_bytes(), getattr(errors, path.parent.name)
    with pytest.raises(errors.NicodecError) as refusal:
        nicodec.decode(data, device="cpu")
    assert type(refusal.value) is expected, refusal.value
    if path.stem not in DECODE_ONLY:
        with pytest.raises(expected):
            verify_bytes(data)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_best_effort_refuses_or_reports(path):
    try:
        (picture,) = decode_taus(path.read_bytes(), DecodeOptions(best_effort=True, device="cpu"))
    except errors.NicodecError:
        return
    assert picture.damage


def test_there_are_files_for_every_error_that_a_file_can_cause():
    assert {path.parent.name for path in FILES} == {
        "NotNicodecError", "UnsupportedVersionError", "CorruptFileError", "LimitError", "MissingPartError",
        "InexactError", "MissingReferenceError",
    }  # fmt: skip
    assert len(FILES) >= 50
