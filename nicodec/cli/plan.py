"""`nicodec train plan`: from pictures to a package, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nicodec.training.family import Family
    from nicodec.training.plan import Plan, PlannedStage
    from nicodec.training.stages import Recipe


@dataclass(frozen=True)
class Place:
    """Where a plan is carried out, and with what: all that is not in the plan."""

    folders: tuple[Path, ...]
    out: Path
    validation: Path | None
    trunks: tuple[Path, ...]
    device: str
    quiet: bool


def carry_out(plan: Plan, place: Place) -> None:
    """Do what is left of a plan, graphs last; return early where a stage was told to stop.

    Raises:
        UsageError: a stage needs the weights of a critic.
        TrainingRunError: the folder was begun with another plan, or other data.
    """
    from nicodec.cli import pooled, texture
    from nicodec.cli.models import export
    from nicodec.errors import UsageError
    from nicodec.training.export import adopt
    from nicodec.training.family import UNMADE
    from nicodec.training.graphs import complete_graphs
    from nicodec.training.plan import CRITICAL
    from nicodec.zoo.store import find_package

    family = family_of(plan, place)
    left = [stage for stage in plan.stages if not family.finished(stage)]
    if not place.trunks and (needing := [stage.name for stage in left if stage.name in CRITICAL]):
        raise UsageError(f"{', '.join(needing)} of {plan.path} need a critic's weights: give them with --trunk")
    if plan.base is not None and not (family.package / "model.toml").exists():
        adopt(find_package(plan.base), family.package, plan.summary)
    for stage in left:
        _say(place, f"{stage.name}: begins")
        family.begin(stage)
        family.report()
        if stage.name == "dictionary":
            pooled.build_into(family.package, place.folders, stage.size)
        elif stage.name == "texture":
            texture.build_into(family.package, place.folders, **stage.config)
        elif not _trained(family, stage, place):
            _say(place, f"{stage.name}: stopped; the same command goes on with it")
            break
        elif stage.name != UNMADE:
            export(place.out / stage.name, family.package, plan.summary, place.folders, **stage.export)
        family.make(stage)
    else:
        if complete_graphs(family.package):
            _say(place, f"{family.package}: graphs written")
    family.report()
    _say(place, f"{place.out / 'report.md'}: written")


def family_of(plan: Plan, place: Place) -> Family:
    """What the plan's folder holds."""
    from nicodec.training.data import fingerprint
    from nicodec.training.family import Family

    held_out = None if place.validation is None else fingerprint([place.validation])
    return Family(plan, place.out, {"training pictures": fingerprint(place.folders), "validation pictures": held_out})


def _trained(family: Family, stage: PlannedStage, place: Place) -> bool:
    """Train a stage. Returns whether its end was reached."""
    from nicodec.training.ranks import launch

    if not family.trained(stage):
        if stage.processes == 1:
            train_planned(family.plan, stage, place)
        else:
            launch(stage.processes, train_planned, family.plan, stage, place)
    return family.trained(stage)


def train_planned(plan: Plan, stage: PlannedStage, place: Place) -> None:
    """Train a stage of a plan, as one of the processes that do, or alone: as `nicodec train` would."""
    from nicodec.cli.train import train
    from nicodec.training.checkpoint import STATE

    out = place.out / stage.name
    family = family_of(plan, place)
    train(
        recipe_of(stage, family.package, place), stage.schedule, place.folders, out, place.validation, place.device,
        resume=(out / STATE).exists(), quiet=place.quiet, saved=family.report,
    )  # fmt: skip


def recipe_of(stage: PlannedStage, package: Path, place: Place) -> Recipe:
    """What a stage is made of; all but the first stand on what is in `package` by now."""
    from nicodec.training import stages
    from nicodec.zoo.manifest import read_manifest
    from nicodec.zoo.store import find_package

    predecessor = find_package(stage.predecessor) if stage.predecessor else None
    if stage.name == "sq":
        return stages.sq(stage.config, predecessor)
    if stage.name == "foreign":
        return stages.foreign(stage.config)
    held = read_manifest(package / "model.toml")
    if stage.name == "clc":
        return stages.clc(held, stage.config)
    if stage.name == "vq":
        return stages.vq(held, place.trunks, stage.config)
    if stage.name == "restorer":
        return stages.restorer(held, place.trunks, stage.config, predecessor)
    if stage.name == "trust":
        return stages.trust(held, stage.config)
    if stage.name == "aux":
        return stages.aux(held, place.trunks, stage.config, predecessor)
    if stage.name == "fuser":
        return stages.fuser(held, place.trunks, place.out / "aux", predecessor)
    return stages.mode(held, place.trunks)


def _say(place: Place, line: str) -> None:
    if not place.quiet:
        click.echo(line, err=True)
