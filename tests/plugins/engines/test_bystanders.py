"""Which callbacks are known not to touch the weights: told from their code, and never wrong about one that may."""

from __future__ import annotations

import functools
from types import FunctionType, MethodType, ModuleType

import pytest

import oarlock
from oarlock import hookimpl
from oarlock_plugins.engines.bystanders import READ, may_touch, only_reads


class Reads:
    """Functions that do nothing with a run but read how far it is."""

    def nothing(self, run):
        pass

    def step(self, run):
        self.last = run.step

    def logs(self, run, metrics):
        if run.step % 100 == 0 and metrics["valid/accuracy"] > 0.9:
            print(f"{run.epoch} {run.step}: {run.learning_rate():.3g} {run.history[-1]['time']}")

    def stops(self, run):
        patience = 3
        if run.epoch > patience:
            run.stop("enough")

    def writes(self, run):
        with open(run.folder / "steps", "a") as file:
            file.write(f"{run.step}\n")

    def tries(self, run):
        try:
            self.value = run.metrics["valid/loss"]
        except KeyError:
            self.value = run.step


class Touches:
    """Functions that may do more, or of which it cannot be told."""

    def model(self, run):
        run.model.eval()

    def keeps(self, run):
        self.run = run

    def renames(self, run):
        other = run
        other.model.eval()

    def passes(self, run):
        self.help(run)

    def by_name(self, run):
        getattr(run, "model").eval()  # noqa: B009

    def inner(self, run):
        def touch():
            run.model.eval()

        touch()

    def in_a_list(self, run):
        for one in [run]:
            one.model.eval()

    def in_a_lambda(self, run):
        self.later = lambda: run.model

    def through_locals(self, run):
        locals()["run"].model.eval()

    def through_eval(self, run):
        eval("run.model.eval()")

    def sets(self, run):
        run.step = 5

    def returns(self, run):
        return run

    def components(self, run):
        self.steps = run.step
        run.components["model"].width = 3

    def another_attribute_of_the_same_name(self, run):
        self.run = self
        self.pair = (self.run, run)

    def hides(self, *args):
        args[0].model.eval()

    def named(self, **words):
        words["run"].model.eval()

    @functools.wraps(model)
    def wrapped(self, *args):
        args[0].model.eval()


def functions(owner):
    return [pytest.param(value, id=name) for name, value in vars(owner).items() if callable(value)]


@pytest.mark.parametrize("function", functions(Reads))
def test_who_only_reads_is_known(function):
    assert only_reads(function, "run", READ)
    assert only_reads(function.__get__(Reads()), "run", READ)


@pytest.mark.parametrize("function", [*functions(Touches), pytest.param(print, id="of C"),
                                      pytest.param(functools.partial(Reads.step, None), id="partial")])  # fmt: skip
def test_who_may_do_more_is_never_taken_for_one(function):
    assert not only_reads(function, "run", READ)


class Look:
    changes_run = False

    @hookimpl
    def on_run_start(self, run):
        self.found = may_touch(run, "on_step_end")


class Bare:
    @hookimpl
    def on_step_end(self):
        pass


class Reading:
    @hookimpl
    def on_step_end(self, run):
        self.last = run.step

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        self.value = metrics["valid/loss"] if run.epoch else 0.0


class Holding(Bare):
    @hookimpl
    def on_run_start(self, run):
        self.run = run


class Promising(Holding):
    changes_run = False


class Boasting(Bare):
    changes_run = True


class Given(Bare):
    @hookimpl
    def compute_penalty(self, model):
        self.model = model


@pytest.mark.parametrize(("hook", "may"), [
    (Bare, False), (Reading, False), (Holding, True), (Promising, False), (Boasting, True), (Given, True), (None, False),
])  # fmt: skip
def test_who_may_touch_the_weights_between_the_steps_of_a_run(tmp_path, hook, may):
    look = Look()
    hooks = [look] if hook is None else [look, hook()]
    oarlock.train(["model.widths=[8]", "trainer.epochs=1", f"hydra.run.dir={tmp_path}/run"], hooks=hooks)
    assert look.found is may


def reached(value, seen):
    """Notes all that a value holds, as far as containers and attributes lead."""
    if id(value) in seen or isinstance(value, (type, ModuleType, FunctionType)):
        return
    seen[id(value)] = value
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            reached(one, seen)
    elif hasattr(value, "__dict__"):
        reached(vars(value), seen)


def test_what_it_may_read_is_there_and_leads_to_no_weight(tmp_path):
    """A name that a run does not have would be a promise about nothing."""
    leads = {}

    class Reader:
        @hookimpl
        def on_evaluation_end(self, run):
            import paddle

            for name in [*READ, "model", "optimizers"]:
                value, seen = getattr(run, name), {}
                if not isinstance(value, MethodType):  # to call one gives a number or nothing
                    reached(value, seen)
                leads[name] = any(isinstance(one, paddle.Tensor) for one in seen.values())

    oarlock.train(["model.widths=[8]", "trainer.epochs=1", f"hydra.run.dir={tmp_path}/run"], hooks=[Reader()])
    found = {name for name, whether in leads.items() if whether}
    assert found == {"model", "optimizers"}
    assert not found & READ


def test_of_the_default_callbacks_none_may_change_what_makes_the_steps(tmp_path):
    class Looks:
        changes_run = False

        @hookimpl
        def on_run_end(self, run):
            seen.append(run.training_step._premise)

    seen = []
    oarlock.train(["model.widths=[8]", "trainer.epochs=1", f"hydra.run.dir={tmp_path}/run"], hooks=[Looks()])
    assert seen == [None]
