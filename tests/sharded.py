"""What tests of `nicodec batch` share: its words, and what is looked at in a target."""

import json

from lab import cluster
from lab.cluster import HOME, report

TINY = ("--model", "tiny", "-e", "1")
FAST = ("--workers", "2", "--shard", "4")


def outputs(folder):
    """The names of all files that are no ledger's."""
    return list(cluster.outputs(folder))


def entries(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / HOME / "shards").iterdir()}


def failures(folder):
    return {failure["input"].rsplit("/", 1)[-1]: failure["exit_code"] for failure in report(folder)["failures"]}


def as_manifest(path, *names):
    path.write_text("".join(json.dumps({"path": str(name)}) + "\n" for name in names))
    return path
