"""Which package may import what (DESIGN: borders)."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nicodec"
FILES = sorted(PACKAGE.rglob("*.py"))
OURS_FOR_ALL = {"nicodec.errors", "nicodec.rate.scale"}


def imports(path):
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


def outside(folder, allowed):
    """Imports of a folder that are neither the standard library, the folder itself nor allowed."""
    found = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            own = name.startswith(f"nicodec.{folder}") or any(name.startswith(ours) for ours in OURS_FOR_ALL)
            if top not in sys.stdlib_module_names and not own and not {top, name} & allowed:
                found.add(f"{path.name}: {name}")
    return found


def test_container_is_standard_library_only():
    assert outside("container", set()) == set()


def test_entropy_is_numpy_and_constriction_only():
    assert outside("entropy", {"numpy", "constriction", "nicodec.rate.tile"}) == set()


def test_rate_is_numpy_only_and_what_the_container_reads_of_it_standard_library_only():
    assert outside("rate", {"numpy"}) == set()
    assert "numpy" not in set(imports(PACKAGE / "rate" / "scale.py"))


@pytest.mark.parametrize(("name", "places"), [
    ("constriction", ("entropy",)),
    ("compressai", ("foreign", "bench", "training")),
    ("lpips", ("metrics", "training")),
    ("tqdm", ("training", "cli/jobs", "cli/batch")),
    ("onnxruntime", ("engines/onnx",)),
    ("fsspec", ("scale",)),
    ("pyarrow", ("scale/shards",)),
    ("ray", ("scale/cluster",)),
    ("onnx", ("training",)),
    ("torch", ("networks", "training", "bench", "metrics", "engines/torch", "dictionary/build", "foreign",
               "zoo", "cli", "conformance/process", "image/given")),
])  # fmt: skip
def test_who_may_import(name, places):
    for path in FILES:
        if name in {module.split(".")[0] for module in imports(path)}:
            assert str(path.relative_to(PACKAGE)).startswith(places)


def test_nothing_but_the_command_line_imports_training():
    for path in FILES:
        inside = path.relative_to(PACKAGE).parts[0]
        if inside not in ("training", "cli", "bench"):
            assert not [name for name in imports(path) if name.startswith(("nicodec.training", "nicodec.bench"))]


def test_no_pickle_on_a_decode_path():
    for path in FILES:
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in ("training", "metrics", "bench") and place != Path(
            "foreign/fetch.py"
        ):  # none decodes a file
            assert not {"pickle", "marshal", "shelve"} & set(imports(path))
            assert "torch.load" not in path.read_text()


def taken(path, module):
    """What a file imports from a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            yield from (alias.name for alias in node.names)


def test_nobody_rebuilds_the_synthesis():
    """Outside of painters/, it is asked for as a whole."""
    others = [path for path in FILES if path.relative_to(PACKAGE).parts[0] != "painters"]
    assert {name for path in others for name in taken(path, "nicodec.painters.synthesis")} == {"Synthesis"}


def test_parts_are_looked_up_by_the_model_alone():
    """Whoever codes or decodes is given a `Model`, which has resolved them."""
    tools = ("zoo", "engines", "foreign", "training", "cli", "bench")
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] not in tools:
            assert not {name for name in taken(path, "nicodec.zoo.store") if name.startswith("find_")}
