"""Whether somebody has drawn from Paddle's random numbers."""

from __future__ import annotations

from oarlock.paddle_import import import_paddle


class DrawWatch:
    """Sees on the CPU whether something drew from Paddle's generator, at a tenth of what it costs to seed it.

    What a generator in a known state draws next is known too; it has moved on where it draws something else.

    Args:
        seed: of the state that it is in when a watch begins.
    """

    def __init__(self, seed: int) -> None:
        self._generator = import_paddle().base.core.default_cpu_generator()
        self._generator.manual_seed(seed)
        self._state = self._generator.get_state()
        self._next = self._generator.random()

    def begin(self) -> None:
        """Put the generator into its state."""
        self._generator.set_state(self._state)

    def drawn(self) -> bool:
        """Whether something was drawn since; afterwards the generator is in no state that means anything."""
        return bool(self._generator.random() != self._next)
