"""A rate that falls in steps."""

import pytest

import oarlock
from oarlock_plugins.schedules.step import Step
from tests.plugins.reference import LINEAR, assert_follows, sgd

STEP = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.4", "schedule=step")


def test_falls_at_each_milestone(train):
    run = train(*STEP)
    rates = [0.4, 0.4, 0.4, 0.04, 0.04, 0.004]  # after 3 and 4.5 of 6 steps
    assert run.rates == pytest.approx(rates, rel=1e-12)
    assert_follows(run, sgd, lambda step: rates[step])


def test_a_factor_milestones_and_warm_up(train):
    run = train(*STEP, "schedule.milestones=[0.4]", "schedule.gamma=0.5", "schedule.warmup_steps=2")
    assert run.rates == pytest.approx([0.2, 0.4, 0.4, 0.2, 0.2, 0.2], rel=1e-12)


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.55, 0.56])
def test_a_share_of_a_hundred_steps_is_that_step(share):
    rate = Step(milestones=[share]).build_schedule(0.4, 100)
    rates = []
    for _ in range(100):
        rates.append(rate())
        rate.step()
    assert rates.index(pytest.approx(0.04)) == round(100 * share)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.milestones=[0.7,0.3]", r"schedule\.milestones=\[0\.7, 0\.3\]: expected shares of the run"),
        ("schedule.milestones=[30]", r"schedule\.milestones=\[30\.0\]: expected shares of the run"),
        ("schedule.warmup_steps=6", r"schedule\.warmup_steps=6: the run has 6 steps"),
        ("data.stream=true", r"schedule=step needs an end.*trainer\.max_steps"),
    ],
)
def test_what_does_not_fit_is_refused(train, override, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*STEP, override)
