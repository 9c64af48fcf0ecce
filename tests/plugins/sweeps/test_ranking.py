"""The order of the points of a sweep, against definitions written out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock import UserError
from oarlock_plugins.sweeps.display import short
from oarlock_plugins.sweeps.ledger import Trial
from oarlock_plugins.sweeps.outcome import Outcome, objective_values, resolve_objectives
from oarlock_plugins.sweeps.ranking import rank

LOSS, ACCURACY = ["valid/loss", "min"], ["valid/accuracy", "max"]


def trial(number, point, *objective, status="completed"):
    return Trial(number, point, {"a": str(point)}, {}, [], [], str(number), status=status,
                 objective=list(objective) or None)  # fmt: skip


def points(ranked):
    return [one.trials[0].point for one in ranked]


def test_seeds_collapse_to_mean_and_deviation_of_the_sample():
    (one,) = rank([trial(0, 0, 1.0), trial(1, 0, 2.0), trial(2, 0, 6.0)], [LOSS])
    assert one.means == [3.0]
    assert one.deviations == [math.sqrt((4 + 1 + 9) / 2)]
    assert (one.best.number, len(one.trials)) == (0, 3)
    assert rank([trial(0, 0, 1.0)], [LOSS])[0].deviations == [0.0]


@pytest.mark.parametrize(("objective", "order", "best"), [(LOSS, [1, 2, 0], 3), (ACCURACY, [0, 2, 1], 2)])
def test_the_best_comes_first(objective, order, best):
    trials = [trial(0, 0, 5.0), trial(1, 0, 3.0), trial(2, 1, 2.0), trial(3, 1, 1.0), trial(4, 2, 3.0)]
    ranked = rank(trials, [objective])
    assert points(ranked) == order
    assert [one.on_front for one in ranked] == [True, False, False]
    assert next(one for one in ranked if one.trials[0].point == 1).best.number == best


def test_only_trials_with_a_result_count():
    trials = [
        trial(0, 0, 1.0), trial(1, 0, status="failed"), trial(2, 0, 3.0, status="early_stopped"),
        trial(3, 1, status="failed"), trial(4, 2, 0.1, status="pruned"), trial(5, 3, status="completed"),
        trial(6, 4, 0.1, status="running"), trial(7, 5, 0.1, status="interrupted"), trial(8, 6, status="waiting"),
        trial(9, 7, 9.0, status="failed"),
    ]  # fmt: skip
    (one,) = rank(trials, [LOSS])
    assert ([found.number for found in one.trials], one.means) == ([0, 2], [2.0])
    assert rank([], [LOSS]) == []


def test_ties_stay_in_their_order():
    trials = [trial(number, number, 1.0) for number in range(5)]
    for objective in (LOSS, ACCURACY):
        ranked = rank(trials, [objective])
        assert points(ranked) == [0, 1, 2, 3, 4]
        assert all(one.on_front for one in ranked)


def test_a_front_by_hand():
    # (loss, accuracy): 0 and 1 are on the front, 2 is as good as 1, 3 is behind 1, 4 behind 0.
    trials = [trial(0, 0, 1.0, 0.5), trial(1, 1, 2.0, 0.9), trial(2, 2, 2.0, 0.9), trial(3, 3, 2.0, 0.8),
              trial(4, 4, 1.5, 0.5)]  # fmt: skip
    ranked = rank(trials, [LOSS, ACCURACY])
    assert points(ranked) == [0, 1, 2, 4, 3]
    assert [one.on_front for one in ranked] == [True, True, True, False, False]


# Few values, so that there are ties.
FIGURES = st.one_of(st.integers(0, 4).map(float), st.floats(-1, 1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.lists(st.sampled_from(["min", "max"]), min_size=1, max_size=3))
def test_the_front_is_what_nothing_dominates(data, directions):
    figures = data.draw(st.lists(st.tuples(*[FIGURES] * len(directions)), max_size=20))
    ranked = rank(
        [trial(number, number, *one) for number, one in enumerate(figures)], [["m", way] for way in directions]
    )
    signs = [1 if way == "min" else -1 for way in directions]
    costs = [[sign * value for sign, value in zip(signs, one, strict=True)] for one in figures]
    front = {
        number for number, own in enumerate(costs)
        if not any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in costs)
    }  # fmt: skip
    assert {one.best.number for one in ranked if one.on_front} == front
    found = [one.best.number for one in ranked]
    assert sorted(found) == list(range(len(figures)))
    ahead = [number in front for number in found]
    assert ahead == sorted(ahead, reverse=True) or len(directions) == 1
    for part in (found[: len(front)], found[len(front) :]):
        assert [costs[number] for number in part] == sorted(costs[number] for number in part)


def test_many_points_are_ranked_quickly():
    # A table on a terminal asks for it four times a second.
    trials = [trial(number, number, float(number * 7919 % 3001), 1.0) for number in range(3000)]
    ranked = rank(trials, [LOSS, ACCURACY])
    assert [one.means[0] for one in ranked] == sorted(one.means[0] for one in ranked)


def test_a_number_that_was_drawn_is_cut_to_four_digits():
    values = ("0.012345678901", "123456789.0", "0.5", "bn_mlp", "classification", "[1,2,3,4,5]")
    assert [short(value) for value in values] == [
        "0.01235", "1.235e+08", "0.5", "bn_mlp", "classification", "[1,2,3,4,5]"
    ]  # fmt: skip


KNOWN = {"valid/loss": "min", "valid/accuracy": "max", "train/loss": "min"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([], [ACCURACY]),
        (["valid/loss"], [LOSS]),
        (["max:valid/loss"], [["valid/loss", "max"]]),
        (["valid/accuracy", "min:seconds"], [ACCURACY, ["seconds", "min"]]),
        (["epochs"], [["epochs", "min"]]),
    ],
)
def test_an_objective_has_the_metrics_direction_or_another(wanted, found):
    assert resolve_objectives(wanted, "valid/accuracy", KNOWN) == found


@pytest.mark.parametrize("wanted", ["valid/los", "min:valid/los"])
def test_an_objective_that_is_not_measured_is_refused(wanted):
    with pytest.raises(UserError, match=r"^sweep\.objective=valid/los: .*Did you mean 'valid/loss'\?"):
        resolve_objectives([wanted], "valid/accuracy", KNOWN)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_trial_without_a_finite_value_has_none(value):
    metrics = {"valid/accuracy": 0.9} | ({} if value is None else {"valid/loss": value})
    outcome = Outcome("completed", "", metrics, None, 3, "valid/loss", KNOWN, [])
    assert objective_values(outcome.metrics, outcome.epochs, [ACCURACY, LOSS], 2.5) is None
    assert objective_values(
        outcome.metrics, outcome.epochs, [ACCURACY, ["seconds", "min"], ["epochs", "min"]], 2.5
    ) == [0.9, 2.5, 3.0]
    assert objective_values(outcome.metrics, outcome.epochs, [], 2.5) is None
