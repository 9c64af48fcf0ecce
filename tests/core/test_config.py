"""Composition: the user's own files, references between values, what round-trips, and what the errors say."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

import oarlock
from oarlock.cli import main
from tests.core.test_generated_overrides import REGISTRY, valid

GLOBAL = "# @package _global_\n"


def run(*arguments):
    """The exit code, stdout and stderr of `oarlock` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(map(str, arguments)))
    return code, out.getvalue(), err.getvalue()


def composed(*overrides):
    code, out, err = run("train", "--cfg", "job", *overrides)
    assert code == 0, err
    return yaml.safe_load(out)


def refused(*overrides):
    """What is said of a configuration that is not valid."""
    code, out, err = run("train", "--cfg", "job", *overrides)
    assert code == 2, out[-300:]
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 4
    return err


@pytest.fixture
def conf(tmp_path):
    """Write files into a configuration folder of the user's; returns the flag that names it."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return f"--config-dir={tmp_path / 'conf'}"

    return write


# --- the user's own files


def test_own_experiment(conf):
    flag = conf({"experiment/mine.yaml": GLOBAL + "defaults:\n  - override /optimizer: sgd\ntrainer: {epochs: 4}\n"
                                                  "optimizer: {learning_rate: 0.5}\n"})  # fmt: skip
    config = composed(flag, "experiment=mine", "trainer.epochs=6")
    assert config["optimizer"] == {"learning_rate": 0.5}
    assert config["trainer"]["epochs"] == 6


def test_what_is_added_on_the_command_line_has_the_options_that_a_file_gives_it(conf):
    flag = conf({
        "experiment/mine.yaml": GLOBAL + "regularizer: {elastic_net: {l1: 0.5}}\n",
        "experiment/more.yaml": GLOBAL + "defaults:\n  - /callback: [frozen_batch_norm]\n"
                                         "callback: {ema: {decay: 0.5}}\n",
        "optimizer/mine.yaml": "defaults: [momentum, _self_]\nmomentum: 0.8\n",
    })  # fmt: skip
    added = ["+regularizer=elastic_net", "+callback=ema", "optimizer=mine"]
    config = composed(flag, "experiment=[mine,more]", *added, "regularizer.elastic_net.l2=0.25")
    assert config["regularizer"] == {"elastic_net": {"l1": 0.5, "l2": 0.25}}
    assert config["callback"]["ema"] == {"decay": 0.5}
    assert list(config["callback"]) == ["progress", "early_stopping", "ema", "frozen_batch_norm"]
    assert config["optimizer"]["momentum"] == 0.8


def test_own_option_of_a_group(conf):
    flag = conf({"optimizer/mine.yaml": "defaults: [momentum, _self_]\nmomentum: 0.8\n"})
    assert composed(flag, "optimizer=mine")["optimizer"]["momentum"] == 0.8
    assert composed(flag, "optimizer=mine", "optimizer.momentum=0.5")["optimizer"]["momentum"] == 0.5
    assert "Did you mean 'momentum'?" in refused(flag, "optimizer=mine", "optimizer.momentun=0.5")


def test_own_option_of_a_list_group(conf):
    flag = conf({"callback/slow.yaml": "# @package callback.ema\ndefaults: [ema, _self_]\ndecay: 0.99\n"})
    assert composed(flag, "callback=[progress,slow]")["callback"]["ema"] == {"decay": 0.99}


@pytest.mark.parametrize(
    ("files", "override", "said"),
    [
        ({"optimizer/mine.yaml": "learning_rate: 3\n"}, "optimizer=mine", "optimizer is not a registered component"),
        ({"optimizer/mine.yaml": "defaults: [sgd]\nlr: 3\n"}, "optimizer=mine", "Did you mean 'learning_rate'?"),
        ({"optimizer/mine.yaml": "defaults: [sdg]\n"}, "optimizer=mine", "Did you mean 'sgd'?"),
        ({"callback/mine.yaml": "defaults: [ema]\ndecay: 0.5\n"}, "callback=[mine]", "# @package callback.NAME"),
        ({"optimizer/adam.yaml": "learning_rate: 3\n"}, "optimizer=adam", "adam.yaml: there is a 'optimizer/adam'"),
        ({"experiment/seed_mnist.yaml": GLOBAL}, "experiment=seed_mnist", "rename the file"),
        ({"config.yaml": "seed: 1\n"}, "seed=2", "rename the file"),
        ({"experiment/a.yaml": "seed: 1\n"}, "experiment=a", "must begin with '# @package _global_'"),
        (
            {"experiment/a.yaml": GLOBAL + "optimizer: sgd\n"},
            "experiment=a",
            "a: optimizer: sgd: a component is chosen in the defaults list:\n  - override /optimizer: sgd",
        ),
        (
            {"experiment/a.yaml": GLOBAL + "callback: [progress, ema]\n"},
            "experiment=a",
            "- override /callback: [progress, ema]",
        ),
        ({"experiment/a.yaml": GLOBAL + "seeed: 1\n"}, "experiment=a", "experiment/a: seeed"),
        ({"experiment/a.yaml": GLOBAL + "trainer.epochs: 1\n"}, "experiment=a", "'trainer.epochs' is a single key"),
        ({"experiment/a.yaml": GLOBAL + "seed: 1\nseed: 2\n"}, "experiment=a", "a.yaml: line 3: found duplicate key"),
        ({"experiment/a.yaml": GLOBAL + "defaults: [override optimizer: sgd]\n"}, "experiment=a", "override /optimizer"),
        ({"experiment/a.yaml": GLOBAL + "defaults: [/optimizer: sgd]\n"}, "experiment=a", "override /optimizer"),
        ({"experiment/a.yaml": GLOBAL + "defaults: [override /optimzer: sgd]\n"}, "experiment=a", "mean 'optimizer'?"),
        ({"experiment/a.yaml": GLOBAL + "defaults: [overide /task: regression]\n"}, "experiment=a", "mean 'override'?"),
        (
            {"experiment/a.yaml": GLOBAL + "defaults: [override /regularizer: [l2], /regularizer: [clip_norm]]\n"},
            "experiment=a", "'/regularizer' stands after an override; in a defaults list the overrides come last",
        ),
        ({"experiment/a.yaml": GLOBAL + "defaults: [/nowhere]\n"}, "experiment=a", "nowhere: there is no such conf"),
        ({"experiment/abc.yaml": GLOBAL}, "experiment=abd", "Did you mean 'abc'?"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_valid_is_named(conf, files, override, said):
    assert said in refused(conf(files), override)


def test_a_folder_that_is_not_there():
    assert "--config-dir nowhere" in refused("--config-dir", "nowhere")


# --- references


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=${trainer.epochs}", ["seed"], 20),
        ("trainer.max_steps=${seed}", ["trainer", "max_steps"], 7),
        ("trainer.monitor=${oc.env:OARLOCK_TEST_MONITOR}", ["trainer", "monitor"], "valid/loss"),
        ("trainer.monitor=${hydra:job.name}", ["trainer", "monitor"], "oarlock"),
        ("model.widths=${oc.create:[3,4]}", ["model", "widths"], [3, 4]),
        ("optimizer.learning_rate=${model.momentum}", ["optimizer", "learning_rate"], 0.9),
    ],
)
def test_a_reference_is_followed(monkeypatch, override, path, value):
    monkeypatch.setenv("OARLOCK_TEST_MONITOR", "valid/loss")
    config = composed("--resolve", "trainer.max_steps=7", "seed=7", override)
    for key in path:
        config = config[key]
    assert config == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=${trainer.epohcs}", "seed: Interpolation key 'trainer.epohcs' not found"),
        ("seed=${seed}", "seed: Recursive interpolation"),
        ("seed=${device}", "seed: While dereferencing"),
        ("seed=${oc.env:OARLOCK_NOWHERE}", "Environment variable 'OARLOCK_NOWHERE' not found"),
        ("trainer.monitor=${hydra.job.name}", "trainer.monitor: Interpolation key 'hydra.job.name' not found"),
        ("model.widths=${oc.dict.keys:trainer}", "model.widths: its values must be int"),
        ("model.widths=[[3]]", "model.widths[0]: expected int"),
        ("optimizer=${model}", "optimizer=bn_mlp: there is no such optimizer"),
    ],
)
def test_a_reference_that_leads_nowhere(override, said):
    assert said in refused(override)


def test_the_options_that_a_file_gives_a_component_can_be_dropped():
    assert composed("experiment=seed_mnist", "callback=[]", "~callback.early_stopping")["callback"] == {}


# --- what is said of a mistake


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["epochs=3"], "Did you mean 'trainer.epochs'?"),
        (["lr=3"], "Did you mean 'optimizer.learning_rate'?"),
        (["+callback.ema.decay=.1"], "add +callback=ema"),
        (["callback.ema.decay=.1"], "add +callback=ema"),
        (
            ["experiment=seed_mnist", "callback=[progress]"],
            "callback.early_stopping has options but is not chosen; "
            "add +callback=early_stopping, or drop them with ~callback.early_stopping.",
        ),
        (["optimizer=[adam,sgd]"], "there is one optimizer, not a list"),
        (["optimizer=3"], "optimizer=3: expected a name"),
        (["callback=[[ema]]"], "expected a name"),
        (["hydra/launcher=true"], "hydra/launcher=true: expected a name"),
        (["optimizer=null"], "write optimizer=NAME"),
        (["engine=fast"], "there is no such engine. Valid: static."),
        (["callback=null"], "write callback=[] for none"),
        (["experiment=null"], "write experiment=[] for none"),
        (["~optimizer"], "one optimizer is needed"),
        (["~callback"], "write callback=[] for none"),
        (["~callback=early_stopping"], "write ~callback.early_stopping to leave it out"),
        (
            ["callback.early_stopping=null"],
            "callback.early_stopping=null: write ~callback.early_stopping to leave it out",
        ),
        (
            ["callback.early_stopping=false"],
            "write +callback=early_stopping to choose it, ~callback.early_stopping to leave",
        ),
        (["+callback.ema=true"], "callback.ema: a component has no value of its own; write +callback=ema to choose it"),
        (["~callback.ema"], "~callback.ema: 'ema' is not chosen, so it cannot be left out."),
        (
            ["regularizer=l2", "regularizer.coefficient=0.1"],
            "regularizer.coefficient: say of which regularizer: regularizer.l1.coefficient or regularizer.l2.coefficient.",
        ),
        (["model.widths=128"], "model.widths: expected a list, in brackets: [A,B]"),
        (["model.widths=[128,"], "quote all of it for the shell: 'model.widths=[128, …]'"),
        (["trainer=fast"], "trainer: it is no single value; it has options of its own, trainer.…"),
        (["trainer.checkpoint=false"], "trainer.checkpoint: it is no single value; it has options of its own"),
        (["optimizer=sgd,adam"], "several values; add -m to sweep over them.\n"),
        (["~callback.emma"], "Did you mean 'ema'?"),
        (["~trainer"], "trainer: it cannot be left out"),
        (["~trainer.epochs"], "trainer.epochs: it cannot be left out"),
        (["~sed"], "Did you mean 'seed'?"),
        (["data.path=rows.csv"], "data.path: 'data' has no option 'path'. It is one of data=arrays, data=csv."),
        (["optimizer.weight_decay=0.1"], "It is one of optimizer=adamw, optimizer=lamb."),
        (["+experiment=seed_mnist"], "leave out the plus: experiment=seed_mnist"),
        (["++optimizer=sgd"], "leave out the plus: optimizer=sgd"),
        (["+trainer.epochs=3"], "write trainer.epochs=…"),
        (["optimizer@model=sgd"], "optimizer@model: there is nothing to override"),
        (["+optimizer@callback.x=sgd"], "callback.x: 'optimizer/sgd' is of the group optimizer, not callback"),
        (["optimizer=???"], "optimizer: one must be chosen"),
        (["seed=???"], "seed: a value is needed"),
        (["optimizer.learning_rate=???"], "optimizer.learning_rate: a value is needed"),
        (["seed=null"], "seed: it cannot be null"),
        (["seed=-1"], "seed=-1: expected at least 0"),
        (["seed=9223372036854775808"], "expected less than 2**63"),
        (["trainer.epochs=0"], "trainer.epochs=0: expected at least 1"),
        (["trainer.checkpoint.keep=1"], "trainer.checkpoint.keep=1: expected at least 2"),
        (["trainer.checkpoint.every_seconds=nan"], "trainer.checkpoint.every_seconds=nan: expected at least 0"),
        (["trainer.precision=fp33"], "expected one of [fp32, bf16, fp16]"),
        (["device=tpu"], "expected auto, cpu, gpu or gpu:N"),
        (["seed=1,2"], "add -m to sweep over them, or write seed=[1,2]"),
        (["seed=range(3)"], "add -m to sweep"),
        (["hydra.run.dir="], "hydra.run.dir='': expected the path of a folder"),
        (["hydra.output_subdir=x"], "Of hydra.* you may set: run.dir, sweep.dir"),
        (["hydra/help=default"], "you may choose: hydra/launcher, hydra/sweeper"),
        (["hydra/launcher=basik"], "Did you mean 'basic'?"),
        (["hydra.verbose=[1]"], "hydra.verbose=[1]: expected true, false"),
    ],
)
def test_a_mistake_is_explained(overrides, said):
    assert said in refused(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer={learning_rate:0.5}"],
        ["trainer={epochs:3,checkpoint:{keep:4}}"],
        ["callback={}"],
        ["callback=[ema]", "callback={ema:{decay:0.5}}"],
        ["callback=ema"],
        ["~callback.progress"],
        ["experiment=[]"],
        ["hydra.verbose=true"],
        ["hydra.verbose=[a,b]"],
        ["hydra.job.name=x", "hydra.run.dir=a/${hydra.job.name}"],
        ["hydra/launcher=basic", "hydra/sweeper=basic"],
        ["optimizer=sgd", "optimizer=adam", "optimizer.beta1=0.5"],
    ],
)
def test_what_hydra_knows_is_accepted(overrides):
    composed(*overrides)


# --- values that come out go in again


def check_round_trip(tmp_path_factory, case):
    overrides, _ = case
    choices = [text for text in overrides if text.partition("=")[0] in REGISTRY.groups]
    config = composed(*overrides)
    folder = tmp_path_factory.mktemp("again")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "again.yaml").write_text(GLOBAL + yaml.safe_dump(config, sort_keys=False))
    assert composed(f"--config-dir={folder}", *choices, "experiment=again") == config


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(valid())
def test_a_composed_configuration_composes_to_itself(tmp_path_factory, case):
    check_round_trip(tmp_path_factory, case)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(valid())
def test_a_thousand_compose_to_themselves(tmp_path_factory, case):
    check_round_trip(tmp_path_factory, case)


# --- from Python


def test_bad_input_raises_in_python():
    with pytest.raises(oarlock.UserError, match="Did you mean 'learning_rate'"):
        oarlock.train(["optimizer.lr=3"])
    with pytest.raises(oarlock.UserError, match="there is no such folder"):
        oarlock.train(config_dir="nowhere")


def test_python_takes_a_folder_of_configurations(conf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    conf({"experiment/mine.yaml": GLOBAL + "trainer: {max_steps: 2}\nmodel: {widths: [4]}\ncallback: {}\n"})
    result = oarlock.train(["experiment=mine", "callback=[]"], config_dir="conf")
    assert result.status == "completed"
    assert result.best["step"] == 2
