"""Whether somebody has drawn from Paddle's random numbers."""

from __future__ import annotations

from oarlock.paddle_import import import_paddle

PERIOD = 64  # steps after which the states come again


class DrawWatch:
    """Sees on the CPU whether something drew from Paddle's generator, at a fraction of what it costs to seed it.

    What a generator in a known state draws next is known too; it draws something else where it has moved on. One number is
    drawn after each step, so that the next step begins in the next state, which its number alone decides.

    Args:
        seed: of the first state.
    """

    def __init__(self, seed: int) -> None:
        self._generator = import_paddle().base.core.default_cpu_generator()
        self._generator.manual_seed(seed)
        self._states, self._next = [], []
        for _ in range(PERIOD):
            self._states.append(self._generator.get_state())
            self._next.append(self._generator.random())

    def begin(self, step: int) -> None:
        """Put the generator into the state of a step, where something else has used it since the last one."""
        self._generator.set_state(self._states[step % PERIOD])

    def drawn(self, step: int) -> bool:
        """Whether something was drawn in a step; if not, the generator is in the state of the next one."""
        place = step % PERIOD
        found = bool(self._generator.random() != self._next[place])
        if place == PERIOD - 1:
            self.begin(0)
        return found
