"""Paddle's random numbers for what happens between the steps."""

from __future__ import annotations

import functools
from typing import Any

from oarlock.paddle_import import import_paddle


@functools.cache
def can_be_saved() -> bool:
    """Whether the whole state of Paddle's generator on a CPU can be stored; on 2.6 only its seed can."""
    generator = import_paddle().base.core.default_cpu_generator()
    before = generator.get_state()
    generator.random()
    told: bool = generator.get_state().__getstate__() != before.__getstate__()
    generator.set_state(before)
    return told


class HookStream:
    """One stream of random numbers over a whole run, for its hooks and evaluations, on a CPU.

    The generator itself is the stream, also while a step is made that draws nothing, so that it costs nothing. Who seeds the
    generator for anything else calls `leave` first.

    Args:
        seed: where the stream begins.

    Attributes:
        away: whether the generator is used for something else, so that `enter` has to come before hooks are called.
    """

    def __init__(self, seed: int) -> None:
        self._generator = import_paddle().base.core.default_cpu_generator()
        self._generator.manual_seed(seed)
        self._kept: Any = self._generator.get_state()
        self.away = True

    def enter(self) -> None:
        """Have the generator go on where the hooks left it."""
        self._generator.set_state(self._kept)
        self.away = False

    def leave(self) -> None:
        """Keep where the stream stands, before the generator is used for something else."""
        if not self.away:
            self._kept = self._generator.get_state()
            self.away = True

    def state(self) -> list[Any]:
        """Where the stream stands, for JSON."""
        *numbers, engine = (self._kept if self.away else self._generator.get_state()).__getstate__()
        return [*numbers, bytes(engine).decode()]

    def load_state(self, state: list[Any]) -> None:
        """Go on from what `state` returned."""
        *numbers, engine = state
        kind: Any = type(self._kept)
        self._kept = kind.__new__(kind)  # as unpickling does; one that has a state takes no other
        self._kept.__setstate__((*numbers, list(engine.encode())))
        self.away = True
