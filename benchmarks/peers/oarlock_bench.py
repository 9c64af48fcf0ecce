"""A plugin for the benchmarks, loaded with `-p oarlock_bench`: turns, the end after a first step, a transformer."""

from __future__ import annotations

import os
import time

import turns

from oarlock import component, hookimpl


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
    register("model/transformer", Transformer)
