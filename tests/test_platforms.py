"""What Windows or macOS would trip over; neither is here, so what they lack is taken away."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pictures
import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "nicodec").rglob("*.py"))
OPENERS = {"open", "read_text", "write_text", "fdopen", "TextIOWrapper", "NamedTemporaryFile"}
NOT_TEXT = {"Image", "os", "tarfile", "webbrowser"}  # whose `open` opens something else

ELSEWHERE = """
import os, signal, sys
for module, names in ((os, ("fork", "register_at_fork", "chown", "fchown", "sched_getaffinity", "getuid", "sync")),
                      (signal, ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1"))):
    for name in names:
        delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
sys.argv = ["nicodec", *sys.argv[1:]]
from nicodec.cli.main import run
run()
"""


def text_files_without_encoding(path):
    """Lines of a source file that open a text file as the system's locale says."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        words = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        if name not in OPENERS or (owner in NOT_TEXT and name == "open") or any(set("b") <= set(w) for w in words):
            continue
        if "encoding" not in {keyword.arg for keyword in node.keywords}:
            yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_say_their_encoding(path):
    assert list(text_files_without_encoding(path)) == []


def test_the_search_finds_what_it_should(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        'open("a")\nPath("a").read_text()\npath.open("w")\n'
        'open("a", "rb")\nImage.open(a)\nopen("a", encoding="utf-8")\n',
        encoding="utf-8",
    )
    assert list(text_files_without_encoding(path)) == [1, 2, 3]


def test_without_what_only_posix_has(tmp_path):
    """Encode, decode (over a file that is there too), verify and info."""
    pictures.image(70, 50, "RGBA").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"to be overwritten")
    calls = ["encode a.png -o a.nic --model tiny", "decode a.nic -o b.png -f", "decode a.nic -o c.png --scale 2",
             "verify a.nic", "info a.nic"]  # fmt: skip
    for call in calls:
        ended = subprocess.run([sys.executable, "-c", ELSEWHERE, *call.split()], cwd=tmp_path, capture_output=True,
                               text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert ended.returncode == 0, ended.stderr
    assert pictures.Image.open(tmp_path / "b.png").size == (70, 50)


def test_the_workflow_tries_the_versions_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [entry.rpartition(" ")[2] for entry in project["classifiers"] if "Python :: 3." in entry]
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    (smoke,) = re.findall(r"python: \[(.*)\]\n +numpy:", workflow)
    assert json.loads(f"[{smoke}]") == named
    assert project["requires-python"] == f">={named[0]}"
