"""A rate that follows a metric, evaluated after each step."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, sgd

PLATEAU = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.4", "schedule=reduce_on_plateau",
           "trainer.evaluate_every=1 steps")  # fmt: skip
# No evaluation after the first improves by so much.
NEVER = (*PLATEAU, "schedule.min_delta=1e9", "schedule.patience=2")


def test_falls_after_evaluations_without_improvement_for_the_step_to_come(train):
    run = train(*NEVER)
    rates = [0.4, 0.4, 0.4, 0.04, 0.04, 0.004]
    assert run.rates == pytest.approx(rates)
    assert_follows(run, sgd, lambda step: rates[step])


def test_stays_while_the_metric_improves(train):
    assert train(*PLATEAU, "schedule.patience=1").rates == [0.4] * 6


def test_a_cooldown_a_least_rate_and_warm_up(train):
    run = train(*NEVER, "schedule.patience=1", "schedule.cooldown=1", "schedule.factor=0.5", "schedule.min_factor=0.3",
                "schedule.warmup_steps=2")  # fmt: skip
    # The second evaluation reduces, the third cools down, the fourth reduces to the least.
    assert run.rates == pytest.approx([0.2, 0.4, 0.2, 0.2, 0.12, 0.12])


def test_it_follows_the_metric_that_is_named(train):
    run = train(*PLATEAU, "schedule.patience=1", "schedule.monitor=train/loss", "optimizer.learning_rate=0.1")
    assert run.rates == [0.1] * 6


def test_a_resumed_run_goes_on_with_what_it_had_counted(tmp_path, train):
    whole = train(*NEVER)
    part = train(*NEVER, "trainer.max_steps=4", "trainer.checkpoint.every_steps=1")
    resumed = oarlock.commands.resume(part.result.folder, ["trainer.max_steps=6"], say=lambda line: None)
    assert [row["learning_rate"] for row in resumed.history] == [row["learning_rate"] for row in whole.rows]
    for name, tensor in resumed.model.state_dict().items():
        assert (tensor.numpy() == whole.result.model.state_dict()[name].numpy()).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.monitor=valid/acuracy", r"schedule\.monitor=valid/acuracy: this run measures no such metric"),
        ("schedule.patience=0", r"schedule\.patience=0: expected 1 <= patience"),
        ("schedule.factor=1", r"schedule\.factor=1\.0: expected 0 <= factor < 1"),
    ],
)
def test_what_does_not_fit_is_refused(train, override, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*PLATEAU, override)
