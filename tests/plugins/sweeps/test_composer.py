"""From the values of a trial to its experiment: what applies to which components, and the quick way beside the full one."""

from __future__ import annotations

import pytest
from hydra.types import RunMode
from hypothesis import given, settings
from omegaconf import OmegaConf
from tests.core.test_generated_overrides import valid

from oarlock import UserError
from oarlock.loader import CONFIG_NAME, Loader
from oarlock.plugins import load_host
from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.search import grid
from oarlock_plugins.sweeps.space import parse_space

HOST = load_host()


def compose(*overrides, config_dir=None):
    loader = Loader(HOST, config_dir)
    config = loader.load_configuration(CONFIG_NAME, list(overrides), RunMode.MULTIRUN)
    arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    return Composer(loader, config, parse_space(arguments, loader.is_group, loader))


def trials(composer):
    """The overrides of every point of the grid; the first of each combination is compared with the full way."""
    composer.check()
    return [composer.experiment(values).overrides for values in grid(composer)]


def fully(composer, overrides):
    loader = composer._loader
    return loader.experiment(loader.compose_trial(composer._config, overrides), overrides)


def refused(*overrides):
    with pytest.raises(UserError) as error:
        compose(*overrides).check()
    message = str(error.value)
    assert len(message.splitlines()) <= 3
    return message


PLAIN = compose()
PLAIN_BASE = PLAIN.base(())


def test_an_option_that_only_one_choice_has_is_swept_over_there_alone():
    composer = compose("optimizer=sgd,adam", "optimizer.beta1=0.8,0.9")
    assert trials(composer) == [
        ["optimizer=sgd"],
        ["optimizer=adam", "optimizer.beta1=0.8"],
        ["optimizer=adam", "optimizer.beta1=0.9"],
    ]
    experiment = composer.experiment({"optimizer": "adam", "optimizer.beta1": "0.9"})
    assert experiment.components["optimizer"] == "optimizer/adam"
    assert experiment.values["optimizer"]["beta1"] == 0.9
    assert "beta1" not in composer.experiment({"optimizer": "sgd"}).values["optimizer"]


def test_a_fixed_option_that_only_one_choice_has_is_left_out_for_the_other():
    assert trials(compose("optimizer=sgd,adam", "optimizer.beta1=0.8", "seed=3")) == [
        ["seed=3", "optimizer=sgd"],
        ["optimizer.beta1=0.8", "seed=3", "optimizer=adam"],
    ]


def test_the_options_of_what_is_chosen_from_a_list_of_lists():
    assert trials(
        compose("regularizer=[l2],[clip_global_norm]", "regularizer.l2.coefficient=0.1,0.2",
                "regularizer.clip_global_norm.max_norm=3")
    ) == [
        ["regularizer=[l2]", "regularizer.l2.coefficient=0.1"],
        ["regularizer=[l2]", "regularizer.l2.coefficient=0.2"],
        ["regularizer.clip_global_norm.max_norm=3", "regularizer=[clip_global_norm]"],
    ]  # fmt: skip


def test_a_callback_more_or_not():
    assert trials(compose("+callback=[ema],[]", "callback.ema.decay=0.5,0.6", "~callback.progress")) == [
        ["~callback.progress", "+callback=[ema]", "callback.ema.decay=0.5"],
        ["~callback.progress", "+callback=[ema]", "callback.ema.decay=0.6"],
        ["~callback.progress", "+callback=[]"],
    ]


@pytest.mark.parametrize(
    "override",
    [
        "model.widths=[8,4]",
        "trainer.checkpoint={keep:3}",
        "trainer.precision=bf16",
        "trainer.monitor=valid/loss",
        "trainer.evaluate_every='5 steps'",
        r"trainer.evaluate_every=5\ steps",
        "trainer.drop_last=False",
        "trainer.checkpoint.every_seconds=1e-3",
        r"seed=$\{trainer.epochs\}",
    ],
)
def test_a_value_of_any_kind_is_the_same_as_at_once(override):
    loader = PLAIN._loader
    changed = loader.experiment(loader.vary(PLAIN_BASE, [override]), [override])
    assert changed == fully(PLAIN, [override])
    assert changed.values != loader.experiment(PLAIN_BASE, []).values
    assert loader.varied(loader.variation(PLAIN_BASE, []), [override], [override]) in (changed, None)


def test_values_of_a_variation_are_those_of_the_last_call_alone():
    loader = PLAIN._loader
    variation = loader.variation(PLAIN_BASE, ["seed=3"])
    for own in (
        ["trainer.epochs=7"],
        ["optimizer.learning_rate=0.5", "trainer.precision=bf16"],
        ["trainer.monitor=null"],
    ):
        found = loader.varied(variation, own, own)
        assert found.values == fully(PLAIN, ["seed=3", *own]).values


@pytest.mark.parametrize(
    "override", ["trainer.epochs=no", "optimizer.learning_rate=-1", "trainer.precision=fp8", "seed=null", "seed=1.5"]
)
def test_a_variation_does_not_make_what_a_composition_refuses_and_is_as_before(override):
    loader = PLAIN._loader
    variation = loader.variation(PLAIN_BASE, [])
    with pytest.raises(UserError):
        loader.vary(PLAIN_BASE, ["trainer.batch_size=8", override])
    assert loader.varied(variation, ["trainer.batch_size=8", override], []) is None
    assert loader.varied(variation, ["seed=4"], []).values == fully(PLAIN, ["seed=4"]).values


@pytest.mark.parametrize(
    "override", ["model.widths=[8]", "trainer.checkpoint={keep:3}", "seed=${trainer.epochs}", "nope=1"]
)
def test_a_variation_leaves_to_others_what_is_no_plain_value(override):
    loader = PLAIN._loader
    assert loader.varied(loader.variation(PLAIN_BASE, []), [override], [override]) is None


def test_null_takes_a_value_back():
    loader = PLAIN._loader
    monitored = loader.vary(PLAIN_BASE, ["trainer.monitor=valid/loss"])
    overrides = ["trainer.monitor=valid/loss", "trainer.monitor=null"]
    assert loader.experiment(loader.vary(monitored, overrides[1:]), overrides) == fully(PLAIN, overrides)
    assert loader.experiment(monitored, []).values["trainer"]["monitor"] == "valid/loss"


def test_what_refers_to_another_value_follows_it():
    composer = compose("seed=${trainer.epochs}", "trainer.epochs=3,4")
    seeds = [composer.experiment(values).values["seed"] for values in grid(composer)]
    assert seeds == [3, 4]
    assert len(trials(composer)) == 2


def test_of_an_option_that_is_given_twice_the_last_counts():
    composer = compose("optimizer.learning_rate=0.1", "optimizer.learning_rate=0.2", "seed=1,2")
    assert composer.experiment({"seed": "1"}, ("seed=7",)).values["seed"] == 7
    assert composer.experiment({"seed": "1"}).values["optimizer"]["learning_rate"] == 0.2
    assert len(trials(composer)) == 2


FILES = {
    "small": "defaults:\n  - override /optimizer: momentum\noptimizer:\n  momentum: 0.5\ntrainer:\n  epochs: 2\n",
    "other": "defaults:\n  - override /model: lenet\n  - override /data: mnist\n  - override /optimizer: adam\n"
    "seed: ${trainer.epochs}\n",
}


def test_experiments_of_a_folder_that_choose_other_components(tmp_path):
    folder = tmp_path / "experiment"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{content}")
    composer = compose(
        "experiment=small,other", "optimizer.momentum=0.1,0.2", "trainer.epochs=5", config_dir=str(tmp_path)
    )  # fmt: skip
    assert trials(composer) == [
        ["trainer.epochs=5", "experiment=small", "optimizer.momentum=0.1"],
        ["trainer.epochs=5", "experiment=small", "optimizer.momentum=0.2"],
        ["trainer.epochs=5", "experiment=other"],
    ]
    other = composer.experiment({"experiment": "other"})
    assert (other.components["model"], other.components["data"]) == ("model/lenet", "data/mnist")
    assert (other.values["seed"], other.components["optimizer"]) == (5, "optimizer/adam")
    for values in grid(composer):
        experiment = composer.experiment(values)
        assert experiment == fully(composer, experiment.overrides)
    assert other.flags == ["--config-dir", str(tmp_path)]


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (("optimizer=sgd,adam", "optimizer.bta1=0.8,0.9"), "Did you mean 'beta1'?"),
        (("optimizer=sgd,adam", "optimizer.bta1=0.8"), "Did you mean 'beta1'?"),
        (("optimizer=sgd,adam", "optimizer.momentum=0.8,0.9"), "optimizer has no option 'momentum'"),
        (("regularizer=[l2],[]", "regularizer.l2.coefficent=1,2"), "Did you mean 'coefficient'?"),
        (("trainer.epohcs=1,2",), "Did you mean 'epochs'?"),
        (("optimzer.beta1=1,2",), "Did you mean 'optimizer'?"),
        (("optimizer=sgd,sdg",), "Did you mean 'sgd'?"),
        (("seed.x=1,2",), "seed"),
        (("regularizer=[l2],[]", "regularizer.l2.coefficient.x=1,2"), "regularizer.l2.coefficient.x"),
        (("trainer.epochs=interval(1,8.5)",), "trainer.epochs=interval(1.0,8.5): expected integers"),
    ],
)
def test_what_no_choice_has_is_refused_and_the_nearest_named(overrides, word):
    assert word in refused(*overrides)


def test_an_option_of_a_choice_beyond_those_that_are_composed_first_is_known(monkeypatch):
    monkeypatch.setattr("oarlock_plugins.sweeps.composer.MOST_COMBINATIONS", 2)
    many = ("optimizer=sgd,momentum,adam", "regularizer=[],[l2]", "schedule=constant,cosine")
    composer = compose(*many, "optimizer.beta1=interval(0.8,0.9)", "regularizer.l2.coefficient=0.1")
    composer.check()
    assert len(composer.combinations()) == 2  # all of them with sgd and without l2
    values = {"optimizer": "adam", "regularizer": "[l2]", "schedule": "cosine", "optimizer.beta1": "0.85"}
    assert composer.experiment(values).values["optimizer"]["beta1"] == 0.85
    assert "Did you mean 'beta1'?" in refused(*many, "optimizer.bta1=0.8,0.9")


def test_a_value_that_is_not_accepted_is_refused_when_its_point_is_prepared():
    composer = compose("trainer.checkpoint.keep=2,1")
    composer.check()
    composer.prepare({"trainer.checkpoint.keep": "2"})
    with pytest.raises(UserError, match=r"trainer\.checkpoint\.keep=1: expected at least 2"):
        composer.prepare({"trainer.checkpoint.keep": "1"})


def test_what_was_prepared_is_handed_out_once():
    composer = compose("seed=1,2")
    composer.prepare({"seed": "1"}, ("seed=5",))
    first = composer.experiment({"seed": "1"}, ("seed=5",))
    assert first == composer.experiment({"seed": "1"}, ("seed=5",))
    assert first is not composer.experiment({"seed": "1"}, ("seed=5",))
    assert first.values["seed"] == 5


def test_params_are_numbers_where_the_space_has_an_order():
    composer = compose("optimizer=sgd,adam", "trainer.epochs=range(1,4)", "optimizer.learning_rate=interval(0,1)",
                       "seed=1,2", "trainer.batch_size=int(interval(1,8))")  # fmt: skip
    values = {"optimizer": "sgd", "trainer.epochs": "2", "optimizer.learning_rate": "0.25", "seed": "1",
              "trainer.batch_size": "4"}  # fmt: skip
    found = composer.params(values)
    assert found == {"optimizer": "sgd", "trainer.epochs": 2, "optimizer.learning_rate": 0.25, "seed": "1",
                     "trainer.batch_size": 4}  # fmt: skip
    assert [type(value) for value in found.values()] == [str, int, float, str, int]


def test_an_interval_has_whole_numbers_where_the_option_is_an_integer():
    composer = compose(
        "trainer.epochs=interval(1,8)", "trainer.max_steps=tag(log,interval(1,64))", "seed=int(interval(1,8))",
        "optimizer.learning_rate=interval(1,8)", "regularizer=[l2],[]", "regularizer.l2.coefficient=interval(0,1)",
    )  # fmt: skip
    composer.check()
    assert {one.key: one.describe() for one in composer.values} == {
        "trainer.epochs": "int(interval(1,8))",
        "trainer.max_steps": "tag(log,int(interval(1,64)))",
        "seed": "int(interval(1,8))",
        "optimizer.learning_rate": "interval(1.0,8.0)",
        "regularizer.l2.coefficient": "interval(0.0,1.0)",
    }
    assert [one for one in composer.space.parameters if not one.structural] == composer.values
    assert composer.params({"trainer.epochs": "3"}) == {"trainer.epochs": 3}


@settings(max_examples=6, deadline=None, derandomize=True)
@given(valid())
def test_value_by_value_it_is_the_same_experiment_as_at_once(case):
    overrides, _ = case
    loader = PLAIN._loader
    structure = [override for override in overrides if loader.is_group(override.partition("=")[0])]
    values = [override for override in overrides if override not in structure]
    base = loader.compose_trial(PLAIN._config, structure)
    before = base.copy()
    assert loader.experiment(loader.vary(base, values), overrides) == fully(PLAIN, overrides)
    assert base == before
