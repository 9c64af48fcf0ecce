"""A plugin for the benchmarks, loaded with `-p oarlock_bench`: turns, callbacks that do next to nothing, a transformer."""

from __future__ import annotations

import os
import time
import types

import turns

from oarlock import component, hookimpl

CALLBACKS = 10


@component
class Turns:
    """Lets oarlock take part in a benchmark of turns: a callback without any part in the steps."""

    @hookimpl
    def on_run_start(self):
        self._turn, self._save = turns.turn(), 0.0

    @hookimpl(trylast=True)
    def on_evaluation_end(self, run, metrics):
        if self._turn.epoch_ended(metrics["valid/accuracy"]):
            run.stop("the benchmark is over")

    @hookimpl
    def on_checkpoint(self):
        self._save = time.perf_counter() - self._turn.started

    @hookimpl
    def on_run_end(self):
        self._turn.training_ended(self._save)


def own(kind, number):
    """A component of a class that shares nothing with others, not even code, as those of ten authors do not."""
    for function in vars(kind).values():
        if isinstance(function, types.FunctionType):
            function.__code__ = function.__code__.replace()  # a copy; CPython specializes each for one class (PEP 659)
    kind.__name__ = kind.__qualname__ = f"{kind.__name__}{number}"
    return component(kind)


def counter(number):
    """A callback that counts steps, epochs and evaluations, as most callbacks do at least."""

    class Counter:
        """Counts steps, epochs and evaluations."""

        @hookimpl
        def on_run_start(self):
            self.steps = self.epochs = self.evaluations = 0

        @hookimpl
        def on_step_end(self):
            self.steps += 1

        @hookimpl
        def on_evaluation_end(self):
            self.evaluations += 1

        @hookimpl
        def on_epoch_end(self):
            self.epochs += 1

    return own(Counter, number)


def reader(number):
    """A callback that looks at the run after each step."""

    class Reader:
        """Notes which step it was."""

        @hookimpl
        def on_step_end(self, run):
            self.last = run.step

    return own(Reader, number)


def watcher(number):
    """A reader that says that it changes nothing of the run."""
    reading = reader(number)
    reading.changes_run = False
    return reading


def idler(number):
    """A callback with a hook on each step that does nothing: what is left is what oarlock's part costs."""

    class Idler:
        """Does nothing after each step."""

        @hookimpl
        def on_step_end(self):
            pass

    return own(Idler, number)


class Counts:
    """What a counter counts."""

    def __init__(self):
        self.steps = self.epochs = self.evaluations = 0


@component
class CountsByHand:
    """Does in one hook what ten counters do in theirs, without a call: what their own work costs."""

    @hookimpl
    def on_run_start(self):
        self.ten = tuple(type(f"Counts{number}", (Counts,), {})() for number in range(CALLBACKS))

    @hookimpl
    def on_step_end(self):
        a, b, c, d, e, f, g, h, i, j = self.ten
        a.steps += 1
        b.steps += 1
        c.steps += 1
        d.steps += 1
        e.steps += 1
        f.steps += 1
        g.steps += 1
        h.steps += 1
        i.steps += 1
        j.steps += 1

    @hookimpl
    def on_evaluation_end(self):
        for one in self.ten:
            one.evaluations += 1

    @hookimpl
    def on_epoch_end(self):
        for one in self.ten:
            one.epochs += 1


def epoch_counter(number):
    """A callback that counts epochs, and has no part in the steps."""

    class EpochCounter:
        """Counts epochs."""

        @hookimpl
        def on_run_start(self):
            self.epochs = 0

        @hookimpl
        def on_epoch_end(self):
            self.epochs += 1

    return own(EpochCounter, number)


@component
class FirstStep:
    """Ends the process after the first training step, and writes when that was to $OARLOCK_BENCH_FIRST_STEP."""

    @hookimpl(tryfirst=True)
    def on_step_end(self):
        now = time.perf_counter()
        with open(os.environ["OARLOCK_BENCH_FIRST_STEP"], "w", encoding="utf-8") as file:
            file.write(repr(now))
        os._exit(0)


@component
class Transformer:
    """A transformer encoder whose tokens are the rows of an image.

    Args:
        depth: encoder layers.
        width: size of a token's embedding.
        heads: attention heads.
        hidden: units between the two linear layers of an encoder layer.
    """

    depth: int = 4
    width: int = 64
    heads: int = 4
    hidden: int = 128

    @hookimpl
    def build_model(self, spec):
        import paddle_networks

        tokens = spec.input_shape[-2:]
        return paddle_networks.Transformer(
            self.depth, self.width, self.heads, self.hidden, tokens, spec.num_outputs
        )  # fmt: skip


@hookimpl
def register_components(register):
    register("callback/turns", Turns)
    register("callback/first_step", FirstStep)
    for number in range(CALLBACKS):
        register(f"callback/counter_{number}", counter(number))
        register(f"callback/reader_{number}", reader(number))
        register(f"callback/watcher_{number}", watcher(number))
        register(f"callback/idler_{number}", idler(number))
        register(f"callback/epoch_counter_{number}", epoch_counter(number))
    register("callback/counts_by_hand", CountsByHand)
    register("model/transformer", Transformer)
