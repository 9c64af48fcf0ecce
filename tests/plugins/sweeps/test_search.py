"""What is tried next: every sampler that is installed, by ask and tell; the pruners against examples by hand."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest

from oarlock import UserError
from oarlock_plugins.sweeps import options, search
from oarlock_plugins.sweeps.options import PACKAGES, PRUNERS, SAMPLERS, missing_package
from oarlock_plugins.sweeps.search import Search, aggregate, grid
from oarlock_plugins.sweeps.space import parse_space

INSTALLED = [sampler for sampler in SAMPLERS if sampler != "grid" and not missing_package(sampler)]
CONDITIONAL = ("optimizer=sgd,adam", "optimizer.beta1=0.8,0.9")


def composer(*overrides):
    """All options apply, but `optimizer.beta1` only to adam."""
    space = parse_space(overrides, lambda key: key == "optimizer")

    def params(values):
        number = {one.key: int if one.integer else float for one in space.parameters if one.low is not None}
        return {key: number.get(key, str)(value) for key, value in values.items()}

    return SimpleNamespace(
        space=space,
        structure=[one for one in space.parameters if one.structural],
        values=[one for one in space.parameters if not one.structural],
        combination=lambda values: tuple(values[one.key] for one in space.parameters if one.structural),
        applies=lambda combination, key: key != "optimizer.beta1" or "adam" in combination,
        params=params,
    )


def make(*overrides, sampler="random", pruner="none", trials=None, seed=0, objectives=1, warmup=1, factor=2, told=0):
    pruning = {"warmup": warmup, "reduction_factor": factor}
    return Search(composer(*overrides), sampler, pruner, trials, seed, objectives, pruning, told)


def drain(found, value=lambda point: 0.0):
    """All points that there still are; each is told before the next is asked for."""
    points = []
    while (point := found.ask()) is not None:
        points.append(point)
        found.tell(point.number, [value(point)], pruned=False)
    return points


def distinct(points):
    return {tuple(point.values.items()) for point in points}


def test_at_least_the_samplers_without_a_package_of_their_own_are_tested():
    assert {"random", "tpe", "nsgaii"} <= set(INSTALLED)


@pytest.mark.parametrize("sampler", INSTALLED)
def test_values_lie_where_they_should(sampler):
    found = make("optimizer=sgd,adam", "a=int(interval(1,8))", "b=tag(log,interval(1e-4,1))", "c=interval(-1,2)",
                 "d=tag(log,int(interval(1,64)))", "e=x,y", "f=range(0,10,3)", "g=range(0.0,0.8,0.1)",
                 "optimizer.beta1=interval(0.5,0.9)", sampler=sampler, trials=30)  # fmt: skip
    choices = {one.key: set(one.choices) for one in found._composer.space.parameters}
    points = drain(found, lambda point: point.params["c"])
    assert [point.number for point in points] == list(range(30))
    for point in points:
        params, values = point.params, point.values
        assert {key: type(params[key]) for key in "abcdefg"} == {
            "a": int, "b": float, "c": float, "d": int, "e": str, "f": int, "g": float,
        }  # fmt: skip
        assert 1 <= params["a"] <= 8
        assert 1e-4 <= params["b"] <= 1
        assert -1 <= params["c"] <= 2
        assert 1 <= params["d"] <= 64
        # As a list has them: 7 * 0.1 is not 0.7.
        assert all(values[key] in choices[key] for key in ("optimizer", "e", "f", "g"))
        assert {key: float(values[key]) for key in "abcdfg"} == {key: params[key] for key in "abcdfg"}
        assert ("optimizer.beta1" in values) == (values["optimizer"] == "adam")
        assert list(values) == [key for key in choices if key in values]  # in the order in which they were typed
    assert {point.values["optimizer"] for point in points} == {"sgd", "adam"}
    assert len(distinct(points)) == 30


def test_in_the_logarithm_every_decade_is_as_likely():
    points = drain(make("a=tag(log,interval(1e-4,1))", trials=400))
    decades = [math.floor(math.log10(point.params["a"])) for point in points]
    # 100 are expected in each; 60 is 4.6 standard deviations away.
    assert all(60 < decades.count(decade) < 140 for decade in (-4, -3, -2, -1))


@pytest.mark.parametrize("sampler", INSTALLED)
@pytest.mark.parametrize("overrides", [CONDITIONAL, ("a=range(2)", "b=x,y", "c=range(0,1,0.3)")])
def test_a_finite_space_is_used_up_and_nothing_tried_twice(sampler, overrides):
    found = make(*overrides, sampler=sampler)
    points = drain(found, lambda point: len(str(point.values)))
    expected = {tuple(values.items()) for values in grid(composer(*overrides))}
    assert len(points) == len(expected)
    assert distinct(points) == expected
    assert found.ask() is None


@pytest.mark.parametrize("sampler", INSTALLED)
def test_a_space_that_is_used_up_is_not_searched_again_and_again(sampler):
    """While the last trials are trained a driver asks five times a second."""
    found = make("optimizer=sgd,adam", "seed=1,2,3", sampler=sampler, trials=50)
    assert len(drain(found)) == 6
    known = len(found._study.trials)
    assert [found.ask() for _ in range(5)] == [None] * 5
    assert len(found._study.trials) == known


def test_a_grid_is_asked_for_in_its_order_and_counted():
    found = make("a=1,2", "b=x,y,z", sampler="grid")
    assert found.total == 6
    assert [tuple(point.values.values()) for point in drain(found)] == [(a, b) for a in "12" for b in "xyz"]
    assert make(*CONDITIONAL, sampler="grid").total == 3
    assert make(*CONDITIONAL, sampler="grid", trials=2).total == 2
    assert make("a=range(99999)", "b=1,2", sampler="grid").total is None
    assert make("a=range(99999)", "b=1,2", sampler="grid", trials=7).total == 7
    assert make("a=interval(0,1)", trials=7).total == 7


def test_a_sweep_over_nothing_is_one_run():
    assert [point.values for point in drain(make(sampler="grid"))] == [{}]
    assert [point.values for point in drain(make(sampler="tpe"))] == [{}]


@pytest.mark.parametrize("sampler", ["grid", *INSTALLED])
def test_no_more_are_asked_for_than_were_wanted(sampler):
    assert len(drain(make("a=range(100)", sampler=sampler, trials=5))) == 5


@pytest.mark.parametrize("sampler", ["grid", *INSTALLED])
@pytest.mark.parametrize(("pruner", "count"), [("none", 0), ("none", 5), ("none", 12), ("asha", 5)])
def test_a_later_process_goes_on_where_it_was(sampler, pruner, count):
    overrides = ("optimizer=sgd,adam", "optimizer.beta1=0.8,0.9", "g=range(0.0,0.8,0.2)")  # 12 points
    before = make(*overrides, sampler=sampler, pruner=pruner)
    first = [before.ask() for _ in range(count)]
    after = make(*overrides, sampler=sampler, pruner=pruner, told=count)
    for point in first:
        after.restore(point)
    for point in first[: count // 2]:
        after.tell(point.number, [float(point.number)], pruned=False)
    rest = drain(after)
    assert [point.number for point in rest] == list(range(count, 12))
    assert len(distinct(first + rest)) == 12


@pytest.mark.parametrize("sampler", INSTALLED)
def test_what_is_restored_is_known_to_the_sampler(sampler):
    overrides = ("a=interval(0,1)", "b=int(interval(1,9))", "c=range(0.0,0.8,0.1)", "d=x,y")
    points = drain(make(*overrides, sampler=sampler, trials=15))
    after = make(*overrides, sampler=sampler, trials=20, told=15)
    assert after.best() is None
    for point in points:
        after.restore(point)
        after.tell(point.number, [point.params["a"]], pruned=False)
    assert after.best() == [min(point.params["a"] for point in points)]
    assert [point.number for point in drain(after)] == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("sampler", INSTALLED)
def test_a_later_process_does_not_draw_the_same_points_until_it_gives_up(monkeypatch, sampler):
    monkeypatch.setattr(search, "PATIENCE", 10)
    overrides = ("a=interval(0,1)", "b=interval(0,1)")
    points = drain(make(*overrides, sampler=sampler, trials=30))
    after = make(*overrides, sampler=sampler, trials=40, told=30)
    for point in points:
        after.restore(point)
        after.tell(point.number, [0.0], pruned=False)
    rest = drain(after)
    assert [point.number for point in rest] == list(range(30, 40))
    assert len(distinct(points + rest)) == 40


def test_numbers_go_on_after_the_last_that_is_restored():
    points = drain(make("a=range(9)", trials=5))
    after = make("a=range(9)")
    for point in (points[0], points[4]):  # the others were lost with a ledger
        after.restore(point)
    assert after.ask().number == 5


@pytest.mark.parametrize("sampler", INSTALLED)
def test_the_seed_decides_and_a_resumed_sampler_draws_others(sampler):
    def drawn(**options):
        return [point.params["a"] for point in drain(make("a=interval(0,1)", sampler=sampler, trials=5, **options))]

    assert drawn(seed=1) == drawn(seed=1)
    assert not set(drawn(seed=1)) & set(drawn(seed=2))
    assert not set(drawn(seed=1)) & set(drawn(seed=1, told=5))


def test_tpe_searches_where_it_was_good():
    found = make("a=interval(0,1)", sampler="tpe", trials=60)
    points = drain(found, lambda point: abs(point.params["a"] - 0.25))
    assert statistics.fmean(abs(point.params["a"] - 0.25) for point in points[30:]) < 0.15  # at random it is 0.31
    assert found.best() == [min(abs(point.params["a"] - 0.25) for point in points)]


def test_the_best_is_that_of_the_points_that_went_to_their_end():
    found = make("a=range(9)", pruner="median")
    assert found.best() is None
    for outcome in ([3.0], [2.0], None, "pruned"):
        point = found.ask()
        found.report(point.number, 1, 1.0)
        found.tell(point.number, outcome if outcome != "pruned" else None, pruned=outcome == "pruned")
    assert found.best() == [2.0]
    assert make("a=1,2", sampler="grid").best() is None


@pytest.mark.parametrize("sampler", [sampler for sampler in INSTALLED if sampler != "cmaes"])
def test_two_objectives(sampler):
    found = make("a=interval(0,1)", sampler=sampler, objectives=2, trials=15)
    while (point := found.ask()) is not None:
        found.tell(point.number, [point.params["a"], 1 - point.params["a"]], pruned=False)


def asha_by_hand(values, factor):
    """At its first rung a value goes on while it is among the best 1/factor of those seen so far."""
    return [
        value > sorted(values[: count + 1])[max(1, (count + 1) // factor) - 1] for count, value in enumerate(values)
    ]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_asha_is_as_by_hand(sampler):
    values = [5.0, 6.0, 4.0, 5.5, 4.5, 9.0, 1.0]
    assert asha_by_hand(values, 2) == [False, True, False, True, False, True, False]
    found = make("a=range(99)", sampler=sampler, pruner="asha")
    pruned = []
    for value in values:
        point = found.ask()
        found.report(point.number, 1, value)
        pruned.append(found.should_prune(point.number))
    assert pruned == asha_by_hand(values, 2)


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
# Hyperband draws a bracket for each draw of the sampler: here none is a repetition.
@pytest.mark.parametrize(("sampler", "override"), [("grid", "a=range(99)"), ("random", "a=interval(0,1)")])
def test_a_pruner_of_a_later_process_compares_with_the_runs_before(pruner, sampler, override):
    def try_out(found, points, value):
        """How far each run comes."""
        ends = []
        for point in points:
            for evaluation in range(1, 9):
                found.report(point.number, evaluation, value(point.number))
                if found.should_prune(point.number):
                    break
            ends.append(evaluation)
            found.tell(point.number, None if evaluation < 8 else [value(point.number)], pruned=evaluation < 8)
        return ends

    def better(number):
        return 1 - number / 100  # each is better than all before, so that none of them is pruned

    def worse(number):
        return 9 - number / 100

    one = make(override, sampler=sampler, pruner=pruner)
    first = [one.ask() for _ in range(20)]
    assert set(try_out(one, first, better)) == {8}
    at_once = try_out(one, [one.ask() for _ in range(10)], worse)
    later = make(override, sampler=sampler, pruner=pruner, told=20)
    for point in first:
        later.restore(point)
    for point in first:
        for evaluation in range(1, 9):
            later.report(point.number, evaluation, better(point.number))
        later.tell(point.number, [better(point.number)], pruned=False)
    assert try_out(later, [later.ask() for _ in range(10)], worse) == at_once
    assert at_once.count(8) < 5


def test_asha_waits_for_the_warmup_and_then_for_factor_times_as_long():
    found = make("a=range(99)", pruner="asha", warmup=3, factor=2)
    good, bad = found.ask(), found.ask()
    for evaluation in range(1, 8):
        found.report(good.number, evaluation, 1.0)
        assert not found.should_prune(good.number)
    asked = []
    for evaluation in range(1, 8):
        # As good as the other at the rung of 3, worse at that of 6.
        found.report(bad.number, evaluation, 1.0 if evaluation < 6 else 2.0)
        asked.append(found.should_prune(bad.number))
    assert asked.index(True) + 1 == 6


def test_median_is_as_by_hand():
    found = make("a=range(99)", pruner="median", warmup=2)
    points = [found.ask() for _ in range(7)]
    for point, value in zip(points[:5], [1.0, 2.0, 3.0, 4.0, 5.0], strict=True):
        for evaluation in (1, 2):
            found.report(point.number, evaluation, value * evaluation)
            assert not found.should_prune(point.number)  # there are too few to compare with
        found.tell(point.number, [value], pruned=False)
    worse, better = points[5:]
    found.report(worse.number, 1, 99.0)
    assert not found.should_prune(worse.number)  # not before the second evaluation
    found.report(worse.number, 2, 6.5)
    assert found.should_prune(worse.number)  # the median is 6
    found.report(better.number, 1, 99.0)
    found.report(better.number, 2, 5.5)
    assert not found.should_prune(better.number)


@pytest.mark.parametrize("pruner", ["asha", "median"])
@pytest.mark.parametrize("sampler", ["grid", "tpe"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_falls_behind(pruner, sampler, value):
    found = make("a=range(99)", sampler=sampler, pruner=pruner)
    for _ in range(6):
        point = found.ask()
        found.report(point.number, 1, 1.0)
        found.tell(point.number, [1.0], pruned=False)
    for _ in range(5):  # of so many that the sampler has begun to learn from them
        worse = found.ask()
        found.report(worse.number, 1, value)
        assert found.should_prune(worse.number)
        found.tell(worse.number, None, pruned=True)
    assert found.ask() is not None
    assert found.best() == [1.0]


def test_where_no_value_was_finite_nothing_has_a_median_to_fall_behind():
    found = make("a=range(99)", pruner="median")
    for value in (math.nan, math.inf, math.nan, math.inf, math.inf, math.inf):
        point = found.ask()
        found.report(point.number, 1, value)
        found.tell(point.number, [1.0], pruned=False)
    point = found.ask()
    found.report(point.number, 1, 5.0)
    assert not found.should_prune(point.number)


def hyperbands():
    """How far each of 30 runs came, whose values only their numbers decide."""
    found, ends = make("a=interval(0,1)", pruner="hyperband", trials=30), []
    for number in range(30):
        point = found.ask()
        for evaluation in range(1, 17):
            found.report(point.number, evaluation, (number * 7) % 30 + 1 / evaluation)
            if found.should_prune(point.number):
                break
        ends.append(evaluation)
        found.tell(point.number, [(number * 7) % 30], pruned=evaluation < 16)
    return ends


def test_hyperband_spares_the_best_and_decides_the_same_each_time():
    ends = hyperbands()
    assert ends[0] == 16  # the value of run 0 is the smallest of all
    assert 0 < sum(end < 16 for end in ends) < 30
    assert hyperbands() == ends


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_pruner_changes_nothing_in_what_a_grid_asks_for(pruner, sampler):
    points = drain(make(*CONDITIONAL, "a=range(2)", sampler=sampler, pruner=pruner))
    assert distinct(points) == {tuple(values.items()) for values in grid(composer(*CONDITIONAL, "a=range(2)"))}
    if sampler == "grid":
        assert [point.values for point in points] == list(grid(composer(*CONDITIONAL, "a=range(2)")))


def test_without_a_pruner_nothing_is_pruned_and_strange_numbers_are_passed_over():
    for found in (make("a=1,2", sampler="grid"), make("a=1,2", sampler="tpe")):
        point = found.ask()
        found.report(point.number, 1, 1.0)
        assert not found.should_prune(point.number)
        found.report(99, 1, 1.0)
        assert not found.should_prune(99)
        found.tell(99, [1.0], pruned=False)


def test_a_sampler_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    for sampler, packages in PACKAGES.items():
        with pytest.raises(UserError, match=rf"^sweep\.sampler={sampler}: .*pip install {packages[0]}$"):
            make("a=1,2", sampler=sampler)
    assert not any(map(missing_package, ("grid", "random", "tpe", "nsgaii")))
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "scipy" else name)
    assert (missing_package("gp"), missing_package("qmc"), missing_package("cmaes")) == ("scipy", "scipy", "")


def test_repetitions_count_by_their_mean():
    assert aggregate([[1.0, 4.0], [3.0, 8.0]]) == [2.0, 6.0]
    assert aggregate([]) is None
