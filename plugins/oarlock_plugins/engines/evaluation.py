"""An evaluation's forward and loss: which program fits a batch, and what is made eagerly."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from oarlock import Batch, build_eager_evaluation, warn
from oarlock_plugins.engines import private
from oarlock_plugins.engines.making import MISTAKEN, MOST_KEPT, line_of, own, shapes, versions
from oarlock_plugins.engines.premise import Premise
from oarlock_plugins.engines.probe import agree
from oarlock_plugins.engines.programs import Untraceable, leaves
from oarlock_plugins.engines.step import MOST_PROGRAMS, CompiledStep
from oarlock_plugins.engines.traced import EvaluationProgram


class CompiledEvaluation:
    """Forward and loss of a batch by the program for its shapes, or eagerly.

    Args:
        training: the training step of the same run.
    """

    def __init__(self, training: CompiledStep) -> None:
        self._training, self._run, self._eager = training, training.run, build_eager_evaluation(training.run)
        self._programs: dict[Any, EvaluationProgram | None] = {}
        # By identity, for batches that come again: the batch, its program, and what evaluates it.
        self._ready: dict[int, tuple[Any, EvaluationProgram, Callable[[], tuple[Any, Any]]]] = {}

    def __call__(self, batch: Batch) -> tuple[Any, Any]:
        if not self._training.stands(evaluating=True):
            return self._eager(batch)
        ready = self._ready.get(id(batch))
        if ready is None:
            program = self._program(batch)
            if program is None:
                made: tuple[Any, Any] = self._training.beside(lambda: self._eager(batch), evaluating=True)
                return made
            gone = weakref.ref(batch, functools.partial(self._ready.pop, id(batch)))
            feeds = program.feeds([private.storage(leaf) for leaf in leaves(batch)])
            ready = self._ready[id(batch)] = gone, program, program.bind(feeds)
        _, program, evaluate = ready
        if not program.linked():
            program.relink()
        return evaluate()

    def _program(self, batch: Batch) -> EvaluationProgram | None:
        """The program for batches of these shapes; None where they are evaluated eagerly."""
        if self._run.engine != "compiled":
            return None
        key = shapes([batch])
        if key not in self._programs:
            self._programs[key] = self._tried(batch, key) if len(self._programs) < MOST_PROGRAMS else None
        return self._programs[key]

    def _tried(self, batch: Batch, shapes: Any) -> EvaluationProgram | None:
        """A program that agrees with eager on this batch, or None; an earlier run's must agree to the bit."""
        run, varied = self._run, self._training.maker.varying
        key = (self._training.maker.identity, shapes)
        kept: EvaluationProgram | None = run.kept.find("evaluation program", key)
        covered = kept is not None and kept.tried.covers(varied)
        if kept is not None and covered and not kept.tried.due() and kept.adopt(run):
            return kept
        before = Premise(run)
        given = own([batch])
        unwritten = versions(given)
        expected = self._eager(given[0])
        before.put_back()
        if versions(given) != unwritten:  # by a program it would be written into the rows that are kept
            return None

        def agrees(program: EvaluationProgram, tolerance: float) -> bool:
            found = program(program.feeds([private.storage(leaf) for leaf in leaves(batch)]))
            return all(agree(one.numpy(), np.asarray(other), tolerance, tolerance / 10)
                       for one, other in zip(expected, found, strict=True))  # fmt: skip

        if kept is not None and kept.adopt(run):
            same = agrees(kept, 0.0)
            before.put_back()
            if same:
                kept.tried.add(varied)
                return kept
        if covered:
            warn(MISTAKEN)
        try:
            program = EvaluationProgram(run, batch, self._training.place)
            sound = agrees(program, 1e-5)
        except Untraceable:
            return None
        except Exception as error:  # whatever a component's code or an operator may raise
            warn(f"engine: evaluations are eager: {type(error).__name__}: {line_of(error)}")
            return None
        finally:
            before.put_back()
        if not sound:
            return None
        if key[0] and program.remember(run):
            program.tried.add(varied)
            run.kept.keep("evaluation program", key, program, MOST_KEPT)
        return program
