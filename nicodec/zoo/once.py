"""What a process loads once, whoever asks: threads that ask at the same time wait for one of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Once(Generic[P, T]):
    """A function whose results stay; an error does not. Arguments must be hashable.

    It is for what never changes once it is there and is the same for all: what a part holds, under the part, whose id
    is the hash of its content. So models in one process share what they have in common, and none can get another's.
    """

    def __init__(self, load: Callable[P, T]) -> None:
        self.load, self.__doc__, self.__wrapped__ = load, load.__doc__, load
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock)

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> T:
        """What the function gives, or gave."""
        key: Hashable = (arguments, tuple(sorted(named.items())))
        if key not in self._held:
            with self._lock:
                if key not in self._held:
                    self._held[key] = self.load(*arguments, **named)
        return self._held[key]

    def forget(self) -> None:
        """Load anew from now on."""
        self._held: dict[Hashable, T] = {}
        self._unlock()

    def _unlock(self) -> None:
        """In the child of a fork nobody is left who would: the thread that was loading stayed behind."""
        self._lock = threading.RLock()


def once(load: Callable[P, T]) -> Once[P, T]:
    """A decorator, see `Once`."""
    return Once(load)
