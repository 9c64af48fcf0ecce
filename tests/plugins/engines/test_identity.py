"""When a program that an earlier run of the process left is used without a trial, and when it is tried first."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import oarlock
from oarlock import Experiment, Rows, Runner, hookimpl
from oarlock.checking import chosen_components
from oarlock.config import compose
from oarlock.plugins import load_host
from oarlock_plugins.engines import identity, making
from oarlock_plugins.engines.identity import Tried

BASE = ["optimizer=sgd", "model.widths=[8]", "trainer.epochs=1", "callback=[]"]
NUMBERS = st.one_of(st.integers(-9, 9), st.floats(allow_nan=False))
VALUES = st.fixed_dictionaries({"number": NUMBERS, "word": st.one_of(st.none(), st.booleans(), st.sampled_from("ab"))})


def experiment(*overrides):
    host = load_host()
    composed = compose(host, [*BASE, *overrides]).config
    values = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    return Experiment(values, chosen_components(composed, host.registry), list(overrides), [])


@given(st.lists(VALUES), VALUES)
def test_what_is_covered_lies_between_runs_that_were_tried(added, asked):
    tried = Tried()
    for values in added:
        tried.add(values)
    numbers, words = [one["number"] for one in added], [(type(one["word"]), one["word"]) for one in added]
    expected = (
        len(added) > 1
        and min(numbers) <= asked["number"] <= max(numbers)
        and (type(asked["word"]), asked["word"]) in words
    )
    assert tried.covers(asked) == expected
    assert not tried.covers({**asked, "another": 1})


def test_one_covered_run_in_so_many_is_tried():
    tried = Tried()
    assert [number for number in range(1, 49) if tried.due()] == [16, 32, 48]


@pytest.fixture
def trials(monkeypatch):
    """How many steps were compared with eager ones so far, by run."""
    made = []
    compare = making.compare
    monkeypatch.setattr(making, "compare", lambda *a, **k: (made.append(1), compare(*a, **k))[1])
    return made


@pytest.fixture
def sgd_that(monkeypatch):
    """Has SGD multiply its gradients by a number that follows from the learning rate in Python."""
    import paddle

    def change(factor):
        class Changed(paddle.optimizer.SGD):
            def __init__(self, learning_rate, **others):
                super().__init__(learning_rate, **others)
                self.factor = factor(learning_rate)

            def _append_optimize_op(self, block, pair):
                parameter, gradient = pair
                return super()._append_optimize_op(block, (parameter, gradient * self.factor))

        # In a program it is made anew at the rate that the run has.
        Changed.__module__ = original.__module__
        monkeypatch.setattr(paddle.optimizer, "SGD", Changed)

    original = paddle.optimizer.SGD
    return change


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows]


def is_as_alone(runner, folder, rate):
    runner.train(experiment(f"optimizer.learning_rate={rate}"), folder / f"after-{rate}")
    oarlock.train([*BASE, f"optimizer.learning_rate={rate}", f"hydra.run.dir={folder}/alone-{rate}"])
    return losses(folder / f"after-{rate}") == losses(folder / f"alone-{rate}")


def test_a_rate_between_two_that_were_tried_is_not_tried(tmp_path, trials):
    runner, before = Runner(), []
    for number, (rate, seed) in enumerate([(0.01, 3), (0.1, 0), (0.05, 2), (0.02, 3), (0.1, 1), (0.2, 1), (0.15, 4)]):
        runner.train(experiment(f"optimizer.learning_rate={rate}", f"seed={seed}"), tmp_path / str(number))
        before.append(len(trials))
    assert before == [1, 2, 2, 2, 2, 3, 4], "the first makes the program, the sixth has another rate, the last a seed"


def test_a_bound_in_an_option_beyond_what_was_tried_gets_a_program_of_its_own(tmp_path, sgd_that):
    sgd_that(lambda rate: 3.0 if rate > 0.2 else 1.0)
    runner = Runner()
    for rate in (0.01, 0.1, 0.05, 0.3, 0.06, 0.31):
        assert is_as_alone(runner, tmp_path, rate), rate
    assert len({tuple(losses(tmp_path / f"after-{rate}")) for rate in (0.05, 0.3, 0.31)}) == 3


def test_what_only_a_few_values_between_change_is_found_by_a_trial_now_and_then_and_said(
    tmp_path, monkeypatch, sgd_that, capfd
):
    monkeypatch.setattr(identity, "ONE_IN", 2)
    sgd_that(lambda rate: 3.0 if 0.06 < rate < 0.07 else 1.0)
    runner = Runner()
    for rate in (0.01, 0.1, 0.05):
        assert is_as_alone(runner, tmp_path, rate)
    capfd.readouterr()
    assert is_as_alone(runner, tmp_path, 0.065)
    said = capfd.readouterr().err
    assert said.count("runs before it in this process may have been made by the wrong one") >= 1
    assert "trainer.engine=eager" in said
    assert not np.allclose(losses(tmp_path / "after-0.065"), losses(tmp_path / "after-0.05"))


def test_what_is_eager_after_a_program_was_expected_has_batches_of_its_own(tmp_path, monkeypatch):
    """Its model may keep them, and its first epoch is gathered into memory that the next one's is gathered into."""
    import paddle

    kept, branches = [], [False]

    class Keeps(paddle.nn.Linear):
        def forward(self, x):
            if paddle.in_dynamic_mode() and self.weight.shape[0] == 64:
                kept.append((x, x.numpy().copy()))
            if branches[0] and float(x.sum()) > -1e9:
                x = x * 2
            return super().forward(x)

    monkeypatch.setattr(paddle.nn, "Linear", Keeps)
    runner = Runner()
    for number, branches[0] in enumerate([False, True]):
        kept.clear()
        runner.train(experiment("trainer.epochs=3", f"seed={number}"), tmp_path / str(number))
    assert [json.loads((tmp_path / name / "run.json").read_text())["engine"] for name in "01"] == ["compiled", "eager"]
    assert len(kept) >= 3 * 33
    assert all(np.array_equal(tensor.numpy(), then) for tensor, then in kept)


def test_rows_that_come_in_one_list_are_found_by_themselves_in_the_next_run_too(tmp_path):
    class Steps:
        changes_run = False  # nothing that a program is made of

        def __init__(self, starts):
            self.starts, self.losses = starts, []

        @hookimpl
        def on_run_start(self, run):
            run.model.train()
            whole, one = next(run.feeder.epoch(0, 0, reuse=True))[0].whole, []
            for start in self.starts:
                one[:] = [Rows(whole, start, start + 32)]  # the one before is gone, and its identity free
                self.losses.extend(run.read_losses([run.training_step(one)]))

    runner, orders = Runner(), np.random.default_rng(0).integers(0, 1000, (4, 400)).tolist()
    found = {}
    for engine in ("auto", "eager"):
        for seed, starts in enumerate(orders):
            steps = Steps(starts)
            given = experiment(f"seed={seed}", f"trainer.engine={engine}")
            runner.train(given, tmp_path / f"{engine}-{seed}", hooks=[steps])
            found[engine, seed] = steps.losses
            del steps
            gc.collect()
    assert all(found["auto", seed] == found["eager", seed] for seed in range(len(orders)))


def test_what_a_caller_s_hook_changes_before_the_first_step_is_in_no_other_run_s_program(tmp_path):
    class Smooths:
        def __init__(self, share):
            self.share = share

        @hookimpl
        def on_run_start(self, run):
            run.components["task"].label_smoothing = self.share

    runner, losses = Runner(), {}
    for engine in ("auto", "eager"):
        for share in (0.0, 0.1, 0.2, 0.05):
            given = experiment(f"trainer.engine={engine}")
            done = runner.train(given, tmp_path / f"{engine}-{share}", hooks=[Smooths(share)])
            losses[engine, share] = done.metrics["test/loss"]
    assert len(set(losses.values())) == 4
    assert all(losses["auto", share] == losses["eager", share] for _, share in losses)
