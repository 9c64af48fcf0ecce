"""Many runs in one process: what one leaves for the next changes nothing in it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import oarlock
from oarlock import Experiment, Runner, UserError, checkpoint, hookimpl
from oarlock.checking import chosen_components
from oarlock.config import compose
from oarlock.plugins import load_host
from tests.conftest import environment, install

BASE = ["optimizer=momentum", "model.widths=[16]", "model.dropout=0.2", "trainer.epochs=2", "callback=[]"]


def experiment(*overrides, base=BASE):
    host = load_host()
    composed = compose(host, [*base, *overrides]).config
    values = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    return Experiment(values, chosen_components(composed, host.registry), list(overrides), [])


def end(folder):
    files = checkpoint.newest_intact(folder / "checkpoints")[1]
    arrays = {name: checkpoint.unpack_arrays(files[name]) for name in files if name.endswith(".safetensors")}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return arrays, [{key: value for key, value in row.items() if key != "time"} for row in rows]


def equal(one, other):
    (arrays, rows), (other_arrays, other_rows) = one, other
    assert rows == other_rows
    assert arrays.keys() == other_arrays.keys()
    for file, tensors in arrays.items():
        for name, array in tensors.items():
            np.testing.assert_array_equal(array, other_arrays[file][name], err_msg=f"{file} {name}")


CHANGES = [
    ["optimizer.learning_rate=0.05"],
    ["optimizer.learning_rate=0.01", "seed=7"],
    ["schedule=cosine"],
    ["optimizer.momentum=0.5"],
    ["model.dropout=0.4"],
    ["optimizer.learning_rate=0.02", "data.split_seed=3"],
    ["trainer.batch_size=16"],
    ["task.label_smoothing=0.1"],
    [],
]


def test_each_run_of_a_process_is_the_one_that_it_would_be_alone(tmp_path):
    runner = Runner()
    for number, change in enumerate(CHANGES):
        runner.train(experiment(*change), tmp_path / f"after-{number}")
        oarlock.train([*BASE, *change, f"hydra.run.dir={tmp_path}/alone-{number}"])
        equal(end(tmp_path / f"after-{number}"), end(tmp_path / f"alone-{number}"))


def test_what_differs_in_the_learning_rate_alone_is_not_traced_again(tmp_path, monkeypatch):
    from oarlock_plugins.engines import making

    made = []

    class Counted(making.StepProgram):
        def __init__(self, *arguments):
            made.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(making, "StepProgram", Counted)
    runner = Runner()
    for number, rate in enumerate((0.1, 0.05, 0.01)):
        runner.train(experiment(f"optimizer.learning_rate={rate}", f"seed={number}"), tmp_path / str(number))
    assert len(made) == 1
    runner.train(experiment("optimizer.momentum=0.5"), tmp_path / "other")
    assert len(made) == 2


def test_an_optimizer_that_holds_its_rate_as_a_number_gets_a_program_of_its_own(tmp_path, monkeypatch):
    """The rate of the first run would otherwise be that of all."""
    import paddle

    class Held(paddle.optimizer.SGD):
        def __init__(self, learning_rate, **others):
            super().__init__(1.0, **others)
            self.held = learning_rate

        def _append_optimize_op(self, block, pair):
            parameter, gradient = pair
            return super()._append_optimize_op(block, (parameter, gradient * self.held))

    Held.__module__ = paddle.optimizer.SGD.__module__
    monkeypatch.setattr(paddle.optimizer, "SGD", Held)
    runner = Runner()
    for name, rate in (("a", 0.5), ("b", 0.001)):
        runner.train(experiment("optimizer=sgd", f"optimizer.learning_rate={rate}"), tmp_path / name)
        oarlock.train([*BASE, "optimizer=sgd", f"optimizer.learning_rate={rate}", f"hydra.run.dir={tmp_path}/{name}1"])
        equal(end(tmp_path / name), end(tmp_path / f"{name}1"))


def test_a_value_that_is_refused_leaves_nothing_behind(tmp_path):
    runner = Runner()
    runner.train(experiment(), tmp_path / "first")
    bad = experiment()
    bad.values["optimizer"]["learning_rate"], bad.values["optimizer"]["momentum"] = 0.5, "much"
    with pytest.raises(Exception, match="much"):
        runner.train(bad, tmp_path / "bad")
    runner.train(experiment(), tmp_path / "again")
    equal(end(tmp_path / "first"), end(tmp_path / "again"))


class Doubles:
    """Changes what is done to the rows, from its first epoch on."""

    @hookimpl
    def on_run_start(self, run):
        run.data.transform_batch = lambda batch, rng: oarlock.Batch(batch.inputs * 2, batch.targets)


NESTED = """
from typing import Any
import numpy as np
from oarlock import Arrays, Data, component, hookimpl

@component
class Up:
    def __call__(self, rows):
        return rows + 1

@component
class Down:
    def __call__(self, rows):
        return rows - 1

@component
class Outer:
    augment: Any = None

    @hookimpl
    def build_data(self):
        rng = np.random.default_rng(0)
        rows = Arrays(self.augment(rng.random((64, 4), "float32")), rng.integers(0, 2, 64))
        return Data(rows, rows, class_names=["a", "b"])

@hookimpl
def register_components(register):
    register("data/outer", Outer)
    register("data/up", Up)
    register("data/down", Down)
"""


def test_data_that_differs_in_a_component_inside_of_it_alone_is_other_data(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", NESTED, "nested")))
    runner, found = Runner(), {}
    for name in ("up", "down", "up"):
        chosen = experiment("data=outer", f"+data@data.augment={name}", "model.widths=[4]")
        result = runner.train(chosen, tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}")
        found.setdefault(name, []).append(result.metrics)
    assert found["up"][0] == found["up"][1] != found["down"][0]


def test_parameter_groups_of_the_caller_are_those_of_each_run(tmp_path):
    class Groups:
        def __init__(self, factor):
            self.factor = factor

        @hookimpl
        def build_parameter_groups(self, model):
            return [{"params": model.parameters(), "learning_rate": self.factor}]

    runner, chosen, found = Runner(), experiment("trainer.max_steps=5"), []
    for number, factor in enumerate([1.0, 1.0, 0.1]):
        found.append(runner.train(chosen, tmp_path / str(number), hooks=[Groups(factor)]).metrics)
    alone = Runner().train(chosen, tmp_path / "alone", hooks=[Groups(0.1)]).metrics
    assert found[0] == found[1] != found[2] == alone


def test_what_a_callback_does_to_the_data_ends_with_its_run(tmp_path):
    runner = Runner()
    runner.train(experiment(), tmp_path / "before")
    runner.train(experiment(), tmp_path / "changed", hooks=[Doubles()])
    runner.train(experiment(), tmp_path / "after")
    equal(end(tmp_path / "before"), end(tmp_path / "after"))
    assert end(tmp_path / "before")[1] != end(tmp_path / "changed")[1]


class Relabels:
    @hookimpl
    def on_run_start(self, run):
        run.data.train.targets[:] = 9 - run.data.train.targets


class Replaces:
    @hookimpl
    def on_run_start(self, run):
        run.data.train.inputs = run.data.train.inputs[::-1].copy()


@pytest.mark.parametrize("hook", [Relabels(), Replaces()])
def test_what_a_callback_writes_into_the_rows_ends_with_its_run(tmp_path, hook):
    runner = Runner()
    for name, hooks in (("before", []), ("changed", [hook]), ("again", [hook]), ("after", [])):
        runner.train(experiment(), tmp_path / name, hooks=hooks)
    equal(end(tmp_path / "before"), end(tmp_path / "after"))
    equal(end(tmp_path / "changed"), end(tmp_path / "again"))
    assert end(tmp_path / "before")[1] != end(tmp_path / "changed")[1]


def test_what_a_data_component_finds_out_while_it_builds_is_there_in_each_run(tmp_path):
    """As in each trial of a sweep."""
    source = """
from oarlock import component, hookimpl
from oarlock_plugins.data.digits import Digits

@component
class Remembers(Digits):
    @hookimpl
    def build_data(self):
        built = super().build_data()
        self.brightest = int(built.train.inputs.max())
        return built

@component
class Looks(Remembers):
    @hookimpl
    def on_run_start(self, run):
        assert run.components["data"] is self
        print("looks", self.brightest)

@component
class Reads:
    @hookimpl
    def on_run_start(self, run):
        print("reads", run.components["data"].brightest)

@hookimpl
def register_components(register):
    register("data/remembers", Remembers)
    register("data/looks", Looks)
    register("callback/reads", Reads)
"""
    code = """
import oarlock
runner = oarlock.Runner()
for name in ("remembers", "looks"):
    oarlock.train([f"data={name}", "callback=[reads]", "trainer.max_steps=1", f"hydra.run.dir={name}"])
    for number in range(2):
        given = oarlock.vary_experiment(oarlock.load_experiment(name), [f"seed={number}"])
        runner.train(given, f"{name}-{number}")
"""
    site = install(tmp_path / "site", source, "remembering")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment({"PYTHONPATH": str(site)}),
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["reads 16"] * 3 + ["looks 16", "reads 16"] * 3 + [""]


def test_a_run_inside_of_another_leaves_that_one_alone(tmp_path):
    runner, given = Runner(), [f"{key}=0" for key in ("model.dropout", "seed")]
    for number in range(3):
        runner.train(experiment(*given, f"optimizer.learning_rate=0.0{number + 1}"), tmp_path / str(number))

    class Nests:
        @hookimpl
        def on_step_end(self, run):
            if run.step in (5, 40):  # in the middle of an epoch
                runner.train(
                    experiment(*given, f"optimizer.learning_rate=0.02{run.step}"), tmp_path / f"inner-{run.step}"
                )

    runner.train(experiment(*given), tmp_path / "outer", hooks=[Nests()])
    runner.train(experiment(*given), tmp_path / "after")
    oarlock.train([*BASE, *given, f"hydra.run.dir={tmp_path}/alone"])
    for name in ("outer", "after"):
        assert end(tmp_path / name)[1] == end(tmp_path / "alone")[1]


def test_a_run_that_is_not_worth_a_folder_leaves_none(tmp_path):
    runner = Runner()
    result = runner.train(experiment(), tmp_path / "gone", keeps=lambda run: False)
    assert not list(tmp_path.iterdir())
    kept = runner.train(experiment(), tmp_path / "kept", keeps=lambda run: run.best["value"] > 0.5)
    assert kept.metrics == result.metrics
    oarlock.train([*BASE, f"hydra.run.dir={tmp_path}/alone"])
    equal(end(tmp_path / "kept"), end(tmp_path / "alone"))
    record, alone = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("kept", "alone"))
    assert {**record, "times": 0, "command": 0} == {**alone, "times": 0, "command": 0}
    assert "epoch 2" in (tmp_path / "kept" / "train.log").read_text()


def test_a_run_that_got_a_folder_has_its_last_checkpoint_in_it_though_it_is_not_worth_one(tmp_path):
    Runner().train(experiment("trainer.checkpoint.every_steps=30"), tmp_path / "run", keeps=lambda run: False)
    oarlock.train([*BASE, f"hydra.run.dir={tmp_path}/alone"])
    equal(end(tmp_path / "run"), end(tmp_path / "alone"))


def test_a_run_that_gets_its_folder_late_holds_it(tmp_path):
    class Resumes:
        @hookimpl
        def on_epoch_end(self, run):
            if run.epoch == 1:
                code = f"import oarlock.cli; raise SystemExit(oarlock.cli.main(['resume', {str(run.destination)!r}]))"
                done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
                found.append((done.returncode, done.stderr))

    found = []
    Runner().train(
        experiment("trainer.checkpoint.every_steps=10"), tmp_path / "run", hooks=[Resumes()], keeps=lambda run: False
    )
    assert found == [(2, f"error: {tmp_path}/run: another process is working on this run.\n")]


def test_a_run_without_a_folder_gets_one_when_it_fails_or_is_asked_for_it(tmp_path):
    class Fails:
        @hookimpl
        def on_epoch_end(self, run):
            raise RuntimeError("no")

    runner = Runner()
    with pytest.raises(oarlock.RunFailed, match="no"):
        runner.train(experiment(), tmp_path / "failed", hooks=[Fails()], keeps=lambda run: False)
    assert json.loads((tmp_path / "failed" / "run.json").read_text())["status"] == "failed"
    assert "RuntimeError: no" in (tmp_path / "failed" / "train.log").read_text()

    class Writes:
        @hookimpl
        def on_epoch_end(self, run):
            (run.folder / "mine.txt").write_text("here")

    runner.train(experiment(), tmp_path / "asked", hooks=[Writes()], keeps=lambda run: False)
    assert (tmp_path / "asked" / "mine.txt").read_text() == "here"
    with pytest.raises(UserError, match="exists already"):
        runner.train(experiment(), tmp_path / "asked", keeps=lambda run: True)


# Trains in one fork after another, each of which is killed one write later, until one comes to its end.
KILLED_AT_EACH_WRITE = """
import itertools, json, os, signal, sys
from oarlock import Experiment, Runner
from oarlock.plugins import load_host
values, components, folder = json.load(sys.stdin)
runner = Runner()
def train(number):
    def counted(function):
        def wrapper(*arguments, **options):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return wrapper
    global left
    left = number
    os.fsync, os.rename = counted(os.fsync), counted(os.rename)
    runner.train(Experiment(values, components, [], []), f"{folder}/{number}", keeps=lambda run: True)
for number in itertools.count(1):
    child = os.fork()
    if child == 0:
        train(number)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def test_a_folder_that_is_made_late_has_its_checkpoint_wherever_the_process_is_killed(tmp_path):
    job = experiment("trainer.max_steps=2")
    subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_WRITE], input=json.dumps([job.values, job.components, str(tmp_path)]),
        env=environment(), cwd=tmp_path, text=True, capture_output=True, check=True, timeout=200,
    )  # fmt: skip
    runs = {int(path.name): path for path in tmp_path.iterdir() if path.name.isdigit()}
    last = max(runs)
    assert json.loads((runs[last] / "run.json").read_text())["status"] == "completed"
    assert last > 12  # each of the files, the folders and the names is waited for
    assert 1 not in runs  # nothing is there before all of it is on the disk
    for path in runs.values():
        assert end(path)[1] == end(runs[last])[1]
        for name, array in end(runs[last])[0]["model.safetensors"].items():
            np.testing.assert_array_equal(end(path)[0]["model.safetensors"][name], array)


def test_what_a_callback_does_to_the_values_ends_with_its_run(tmp_path):
    """And the record has each value with its type, whatever that of the given one was."""

    class Writer:
        @hookimpl
        def on_run_start(self, run):
            run.values["optimizer"]["learning_rate"] = 0.5

    runner = Runner()
    given = experiment("optimizer.learning_rate=0.25")
    runner.train(given, tmp_path / "written", [Writer()])
    assert given.values["optimizer"]["learning_rate"] == 0.25
    again = experiment("optimizer.learning_rate=0.25")
    again.values["optimizer"]["momentum"] = 0  # an option of type float
    runner.train(again, tmp_path / "again")
    recorded = OmegaConf.load(tmp_path / "again" / "config.yaml").optimizer
    assert (recorded.learning_rate, recorded.momentum, type(recorded.momentum)) == (0.25, 0.0, float)


def test_to_train_experiments_takes_no_hydra():
    """A worker of a sweep is ready a tenth of a second earlier."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom oarlock import Experiment, Runner\nprint('hydra' in sys.modules)"],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr


CHANGED = {
    "trainer.epochs: Value 'x'": lambda values: values["trainer"].update(epochs="x"),
    "seed: Value 'x'": lambda values: values.update(seed="x"),
    "seed: it cannot be left out": lambda values: values.pop("seed"),
    "trainer: it cannot be left out": lambda values: values.pop("trainer"),
    "trainer: expected the options of TrainerConfig, got 3": lambda values: values.update(trainer=3),
    "foo: there is no such group": lambda values: values.update(foo=1),
    r"model\.foo: Key 'foo' not in": lambda values: values["model"].update(foo=1),
    "model: expected the options": lambda values: values.pop("model"),
    r"model\.widths\[0\]: Value 'much'": lambda values: values["model"].update(widths=["much"]),
}


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A runner that has trained `experiment()` already."""
    runner = Runner()
    runner.train(experiment("trainer.epochs=1"), tmp_path_factory.mktemp("used") / "run")
    return runner


@pytest.mark.parametrize("message", CHANGED)
def test_what_is_wrong_in_a_changed_experiment_is_said(used, tmp_path, message):
    changed = experiment("trainer.epochs=1")
    CHANGED[message](changed.values)
    for runner in (used, Runner()):
        with pytest.raises(UserError, match=message):
            runner.train(changed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("components", "message"), [({"model": "model/nope"}, "model=nope: there is no such model"),
                                                     ({}, "data is not a registered component"), (None, "NoneType")])  # fmt: skip
def test_what_is_wrong_in_an_experiment_s_components_is_said(used, tmp_path, components, message):
    given = experiment("trainer.epochs=1")
    changed = {**given.components, **components} if components else components
    with pytest.raises(UserError, match=message):
        used.train(replace(given, components=changed), tmp_path / "run")


@pytest.mark.parametrize("overrides", [None, "seed=1", ["seed=1", 2], {"seed": 1}])
def test_overrides_that_are_no_list_of_texts_are_an_error(overrides):
    with pytest.raises(UserError, match="expected a list of texts"):
        oarlock.train(overrides)


WORDS = '''
from dataclasses import field

from oarlock import component, hookimpl

@component
class Words:
    """Takes any text.

    Args:
        text: the text.
        more: further ones.
    """

    text: str = ""
    more: list[str] = field(default_factory=list)

    @hookimpl
    def on_run_start(self, run):
        """Nothing."""

@hookimpl
def register_components(register):
    register("callback/words", Words)
'''


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A runner whose runs have a text as an option."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install(tmp_path_factory.mktemp("words") / "site", WORDS, "words"))
        yield Runner(), experiment("callback=[words]", "trainer.max_steps=1", base=BASE[:-1])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("\\${}a:'[ "), max_size=9).filter(lambda text: text != "???"))
@example(text="x${y}")
@example(text="\\\\${")
def test_a_text_is_what_it_was_in_a_run_and_in_its_record(words, tmp_path_factory, text):
    runner, base = words
    folder = tmp_path_factory.mktemp("run") / "run"
    base.values["callback"]["words"] = {"text": text, "more": [text, "b"]}
    runner.train(base, folder)
    again = oarlock.load_experiment(folder)
    assert again.values == base.values
    assert again.values["callback"]["words"] == {"text": text, "more": [text, "b"]}
