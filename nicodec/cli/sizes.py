"""Sizes and numbers as people write them."""

from __future__ import annotations

import math
import re
from typing import Any

import click

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


class Size(click.ParamType[Any]):
    """Bytes: a number with or without kB, KiB, MB, MiB .."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse, or fail with what was expected."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", str(value).lower())
        if found is None:
            self.fail(f"{value!r} is no size, expected bytes, such as 20000, 100KB or 1.5MiB", param, ctx)
        size = float(found[1]) * UNITS[found[2]]
        if math.isinf(size):
            self.fail("the size is infinite, expected bytes, such as 20000, 100KB or 1.5MiB", param, ctx)
        return size


class Finite(click.FloatRange):
    """A number, of a range if one is given; click's own ranges let nan pass, and inf where they have no end."""

    def _describe_range(self) -> str:  # click's help would say x<=None
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse, or fail with what was expected."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number
