"""What a process that makes one run after another keeps between them: rows on the device, programs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """A few things of each kind, those that were used last; a single run finds it empty.

    Whoever keeps something answers for its being the same for the next run: the key has all that it depends on.

    Args:
        lasting: whether there may be a next run.
    """

    def __init__(self, lasting: bool = False) -> None:
        self.lasting = lasting
        self._kinds: dict[str, OrderedDict[Hashable, Any]] = {}

    def find(self, kind: str, key: Hashable) -> Any:
        """What was kept under this key, or None."""
        kept = self._kinds.get(kind, OrderedDict())
        if key in kept:
            kept.move_to_end(key)
        return kept.get(key)

    def keep(self, kind: str, key: Hashable, value: Any, most: int = 2) -> None:
        """Keep something, and of its kind no more than `most`."""
        kept = self._kinds.setdefault(kind, OrderedDict())
        kept[key] = value
        kept.move_to_end(key)
        while len(kept) > most:
            kept.popitem(last=False)

    def get(self, kind: str, key: Hashable, make: Callable[[], Any], most: int = 2) -> Any:
        """What was kept under this key, or else what `make` makes, kept from now on."""
        if key not in self._kinds.get(kind, ()):
            self.keep(kind, key, make(), most)
        return self.find(kind, key)
