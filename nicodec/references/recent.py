"""The pixels of references that were decoded last: in a series, and where one is decoded, the same are wanted often."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nicodec.image.picture import Pixels


class Recent:
    """Pixels by what they are made of: the last ones that were asked for, up to so many bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._unlock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock)

    def get(self, key: Hashable, make: Callable[[], Pixels]) -> Pixels:
        """The pixels of a key, which must tell all that `make` depends on; nobody can write to them."""
        with self._lock:
            if (pixels := self._held.get(key)) is not None:
                self._held.move_to_end(key)
                return pixels
        pixels = make()
        pixels.setflags(write=False)
        with self._lock:
            self._held[key] = pixels
            while sum(each.nbytes for each in self._held.values()) > self.limit:
                self._held.popitem(last=False)
        return pixels

    def _unlock(self) -> None:
        """In the child of a fork nobody is left who would."""
        self._lock = threading.Lock()
