"""One cycle against its formula."""

import math

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, sgd

CYCLE = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.4", "schedule=one_cycle")


def one_cycle(step, total, share=0.3, start=0.04, final=4e-6):
    """Two halves of a cosine, the highest place `share` of the way from the first step to the last."""
    place = step / (total - 1)
    low, along = (start, 1 - place / share) if place < share else (final, (place - share) / (1 - share))
    return 0.4 * (low + (1 - low) * (1 + math.cos(math.pi * along)) / 2)


def test_rises_and_falls_once(train):
    run = train(*CYCLE)
    assert run.rates == pytest.approx([one_cycle(step, 6) for step in range(6)], rel=1e-12)
    assert run.rates[0] == pytest.approx(0.016)
    assert run.rates[-1] == pytest.approx(1.6e-6)
    assert_follows(run, sgd, lambda step: one_cycle(step, 6))


def test_its_options(train):
    run = train(*CYCLE, "schedule.warmup_fraction=0.4", "schedule.start_factor=0.5", "schedule.final_factor=0.1")
    assert run.rates == pytest.approx([one_cycle(step, 6, 0.4, 0.5, 0.1) for step in range(6)], rel=1e-12)
    assert run.rates[2] == 0.4


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_shortest_runs(train, epochs):
    run = train(*CYCLE, "schedule.warmup_fraction=0", f"trainer.max_steps={epochs}")
    assert run.rates == pytest.approx([0.4, 1.6e-6][:epochs])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.warmup_fraction=1", r"schedule\.warmup_fraction=1\.0: expected 0 <= warmup_fraction < 1"),
        ("schedule.start_factor=0", r"schedule\.start_factor=0\.0: expected 0 < start_factor <= 1"),
        ("data.stream=true", r"schedule=one_cycle needs an end.*trainer\.max_steps"),
    ],
)
def test_what_does_not_fit_is_refused(train, override, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*CYCLE, override)
