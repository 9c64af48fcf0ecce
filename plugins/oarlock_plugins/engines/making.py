"""How a run comes to a program for its steps: taken over from an earlier run, or traced, and tried beside eager."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from oarlock import Batch, UserError, each, warn
from oarlock_plugins.engines import private
from oarlock_plugins.engines.flat import FlatMemory
from oarlock_plugins.engines.identity import identity, varying
from oarlock_plugins.engines.premise import Premise
from oarlock_plugins.engines.probe import Tensors, compare, reads_of
from oarlock_plugins.engines.programs import Untraceable, leaves
from oarlock_plugins.engines.traced import StepProgram

# Programs that a process keeps for runs like the one that they were made for.
MOST_KEPT = 32
MISTAKEN = (
    "engine: this run needs a program of its own, which by its options it should not; runs before it in this process may "
    "have been made by the wrong one. Repeat them with trainer.engine=eager."
)


class Maker:
    """Makes the programs of a run's steps.

    Attributes:
        run: the run.

    Args:
        run: the run.
        place: where it computes.
        eager: makes a step eagerly, and returns its loss.
    """

    def __init__(self, run: Any, place: Any, eager: Callable[[Sequence[Batch]], Any]) -> None:
        self.run, self._place, self._eager = run, place, eager
        self._memory = FlatMemory()

    @functools.cached_property
    def foreseen(self) -> bool:
        """Whether runs like this one were compiled before."""
        return self.run.kept.find("compiled", self.identity) is not None

    @functools.cached_property
    def identity(self) -> str:
        """What the run's programs are found by."""
        return identity(self.run)

    @functools.cached_property
    def varying(self) -> dict[str, Any]:
        """What the runs that share a program may have different."""
        return varying(self.run)

    def make(self, batches: Sequence[Batch]) -> tuple[StepProgram | None, str]:
        """A program that makes steps on such batches as eager does; or None, and why."""
        run = self.run
        key = (self.identity, shapes(batches))
        program = self._taken_over(key, batches)
        if program is not None:
            return program, ""
        changed = self._changes(batches)
        if changed:
            return None, f"a step changes {', '.join(sorted(changed)[:3])}, which a program would freeze"
        program, reason = self._traced(batches, self._memory)
        if program is not None and key[0] and program.remember(run):
            program.tried.add(self.varying)
            run.kept.keep("step program", key, program, MOST_KEPT)
            run.kept.keep("compiled", key[0], True, MOST_KEPT)
        return program, reason

    def _taken_over(self, key: Any, batches: Sequence[Batch]) -> StepProgram | None:
        """The program of an earlier run of this process, where it makes the very steps of this one."""
        run = self.run
        program: StepProgram | None = run.kept.find("step program", key)
        if program is None:
            return None
        covered = program.tried.covers(self.varying)
        run.optimizers[0].create_accumulators()
        if covered and not program.tried.due():
            return program if program.adopt(run, self._memory) else None
        before = Premise(run)
        try:
            if not program.adopt(run, self._memory):
                return None
            step = program.step_of(batches)
            # To the bit: a number that the program holds and this run has another of would show.
            differs, program.draws = compare(
                lambda: float(self._eager(batches).item()), lambda: float(step()), _changed(run),
                _seeder(), steps=1, tolerance=0.0,
            )  # fmt: skip
        finally:
            before.put_back()
        if differs:
            if covered:
                warn(MISTAKEN)
            return None
        program.tried.add(self.varying)
        return program

    def _changes(self, batches: Sequence[Batch]) -> list[str]:
        """What a step changes of Python's part of the run, each time. It is found out first: of some of it Paddle's tracing dies."""
        self.run.optimizers[0].create_accumulators()
        before, start = Premise(self.run), Tensors(_changed(self.run))
        given = own(batches)  # the step that counts must not find what these write into them
        unwritten = versions(given)
        try:
            self._eager(given)
            settled = Premise(self.run)
            self._eager(given)
            written = ["the rows that it is given"] if versions(given) != unwritten else []
            return settled.changes() + settled.used() + written
        finally:
            start.put_back()
            before.put_back()

    def _traced(self, batches: Sequence[Batch], memory: FlatMemory | None) -> tuple[StepProgram | None, str]:
        """A new program that agrees with eager; where it does not, without what may be moved to a memory."""
        run = self.run
        before = Premise(run)
        try:
            with reads_of(run) as read:
                program = StepProgram(run, batches, self._place, memory)
        except UserError:
            raise
        except Untraceable as error:
            return None, str(error)
        except Exception as error:  # whatever a component's code may raise on a variable without a value
            return None, f"it does not become a program: {type(error).__name__}: {line_of(error)}"
        finally:
            before.put_back()
        if read:
            return None, f"a step reads run.{min(read)}, which a program would freeze"
        step = program.step_of(batches)

        def compiled() -> float:
            try:
                return float(step())
            except Exception as error:  # an operator of Paddle's, which no component called
                raise Untraceable(f"{type(error).__name__}: {line_of(error)}") from error

        draws = True
        try:
            with private.visible_rate(run.optimizer):
                differs, draws = compare(lambda: float(self._eager(batches).item()), compiled, _changed(run, program), _seeder(),
                                         nudged=run.model.parameters())  # fmt: skip
        except Untraceable as error:
            differs = f"it does not run ({error})"
        before.put_back()
        if memory is not None and (differs or program.displaced()):
            return self._traced(batches, None)
        if differs:
            return None, f"the program computes otherwise: {differs}"
        program.draws = draws
        return program, ""


def shapes(batches: Sequence[Batch]) -> tuple[Any, ...]:
    """What decides which program is for these micro-batches."""
    return tuple((tuple(leaf.shape), leaf.dtype) for batch in batches for leaf in leaves(batch))


def own(batches: Sequence[Batch]) -> Sequence[Batch]:
    """The batches in memory of their own, for a model of Python that may keep them, or write into them."""
    return [Batch(*(each(tree, lambda leaf: leaf.clone()) for tree in (one.inputs, one.targets))) for one in batches]


def versions(batches: Sequence[Batch]) -> list[int]:
    """How often each tensor was written to."""
    return [leaf.inplace_version for batch in batches for leaf in leaves(batch)]


def _changed(run: Any, program: StepProgram | None = None) -> list[Any]:
    """The tensors that a step changes; with a program also those of its own, which are in no place that is known."""
    accumulators = run.optimizers[0].optimizer._accumulators.values()
    found = [
        *run.model.parameters(),
        *run.model.buffers(),
        *(tensor for one in accumulators for tensor in one.values()),
    ]
    known = set(map(id, found))
    found += [tensor for tensor in (program.tensors if program is not None else ()) if id(tensor) not in known]
    # A buffer without numbers, as Paddle's LSTM has one, can be read but not written.
    return [tensor for tensor in found if tensor._is_initialized()]


def _seeder() -> Callable[[int], Any]:
    import paddle

    return lambda number: paddle.seed(number)


def line_of(error: BaseException) -> str:
    """The first sentence of an error, without the colours and frames that Paddle adds."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else ""
