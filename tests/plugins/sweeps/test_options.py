"""The options behind `sweep.…`: units, names, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock_plugins.sweeps import options
from oarlock_plugins.sweeps.options import Search

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
KIB = 1024


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (5, 5.0), (0.5, 0.5), ("5", 5.0), ("0.5", 0.5), ("90s", 90.0), ("15m", 15 * MINUTE),
        ("8h", 8 * HOUR), ("2d", 2 * DAY), ("1.5h", 1.5 * HOUR), ("1 h", HOUR),
    ],
)  # fmt: skip
def test_a_time(value, seconds):
    assert Search(timeout=value).timeout_seconds == seconds
    assert Search(trial_timeout=value).trial_seconds == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, None), (1000, 1000), ("1000", 1000), ("7B", 7), ("3K", 3 * KIB), ("800M", 800 * KIB**2), ("4G", 4 * KIB**3),
        ("4GB", 4 * KIB**3), ("4GiB", 4 * KIB**3), ("4 GiB", 4 * KIB**3), ("0.5G", KIB**3 / 2), ("1T", KIB**4),
    ],
)  # fmt: skip
def test_a_size(value, size):
    assert Search(memory_limit=value).memory_bytes == size


NO_AMOUNTS = [0, -1, "0", "0s", "-1", "1x", "1e3", "", " ", "s", "1h30m", "inf", "nan", math.inf, math.nan, True, False,
              [], ["5"], {"s": 1}]  # fmt: skip


@pytest.mark.parametrize("value", [*NO_AMOUNTS, "90S", "1w", "4G", "5sB", "5iB", "5B"])
@pytest.mark.parametrize("name", ["timeout", "trial_timeout"])
def test_what_is_no_time_is_refused(name, value):
    with pytest.raises(ValueError, match="expected seconds, or 90s, 15m, 8h") as error:
        Search(**{name: value})
    assert str(error.value).startswith(f"{name}={value}: ")


@pytest.mark.parametrize("value", [*NO_AMOUNTS, "4g", "4Gi", "4iB", "4BB", "4P", "4h"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="expected bytes, or 800M, 4G") as error:
        Search(memory_limit=value)
    assert str(error.value).startswith(f"memory_limit={value}: ")


SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(["", ".0", ".25", ".", "e1"]), st.sampled_from(["", " ", "  "]),
       st.sampled_from([*SECONDS, "M", "ms", "w"]))  # fmt: skip
def test_a_time_is_a_number_and_at_most_one_unit(whole, rest, space, unit):
    value = f"{whole}{rest}{space}{unit}"
    if rest in (".", "e1") or space == "  " or unit not in SECONDS or float(f"{whole}{rest}") == 0:
        with pytest.raises(ValueError, match=r"^timeout="):
            Search(timeout=value)
    else:
        assert Search(timeout=value).timeout_seconds == float(f"{whole}{rest}") * SECONDS[unit]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=6))
def test_any_text_is_an_amount_above_0_or_refused_by_its_name(text):
    for name, made in (("timeout", "timeout_seconds"), ("memory_limit", "memory_bytes")):
        message = None
        try:
            amount = getattr(Search(**{name: text}), made)
        except ValueError as error:
            message = str(error)
        assert message.startswith(f"{name}={text}: expected ") if message else 0 < amount < math.inf


@pytest.mark.parametrize(
    ("value", "objectives"),
    [
        (None, []),
        ([], []),
        ("valid/loss", ["valid/loss"]),
        (["valid/loss", "max:valid/accuracy"], ["valid/loss", "max:valid/accuracy"]),
    ],
)
def test_objectives_are_a_name_or_a_list_of_names(value, objectives):
    assert Search(objective=value).objectives == objectives


@pytest.mark.parametrize("value", [5, True, "", [5], ["a", None], {"a": 1}, [["a"]]])
def test_other_objectives_are_refused(value):
    with pytest.raises(ValueError, match="expected the name of a metric, or a list of names") as error:
        Search(objective=value)
    assert str(error.value).startswith(f"objective={value}: ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "tep"}, r"sampler=tep: .*Did you mean 'tpe'\?"),
        ({"sampler": ""}, r"sampler=: .*grid, "),
        ({"pruner": "ahsa"}, r"pruner=ahsa: .*Did you mean 'asha'\?"),
        ({"trials": 0}, "trials=0: expected at least 1"),
        ({"seeds": 0}, "seeds=0: expected at least 1"),
        ({"warmup": 0}, "warmup=0: expected at least 1"),
        ({"reduction_factor": 1}, "reduction_factor=1: expected at least 2"),
        ({"retries": -1}, "retries=-1: expected at least 0"),
        ({"sampler_seed": -1}, "sampler_seed=-1: expected at least 0"),
        ({"pruner": "asha", "objective": ["a", "b"]}, "pruner=asha: with several objectives"),
        ({"pruner": "median", "objective": "test/loss"}, "pruner=median: test/loss is known when a run has ended"),
        ({"pruner": "asha", "objective": "max:seconds"}, "pruner=asha: seconds is known when a run has ended"),
        ({"pruner": "asha", "objective": ["epochs"]}, "pruner=asha: epochs is known when a run has ended"),
    ],
)
def test_other_values_are_refused(given, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        Search(**given)


def test_the_least_values_are_accepted():
    found = Search(trials=1, seeds=1, warmup=1, reduction_factor=2, retries=0, sampler_seed=0, pruner="hyperband",
                   objective=["a"])  # fmt: skip
    assert found.objectives == ["a"]


def test_a_sampler_is_refused_before_there_is_a_sweep_when_it_cannot_work(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^sampler=gp: it needs the package 'torch'; pip install torch$"):
        Search(sampler="gp")
    monkeypatch.setattr(options, "missing_package", lambda sampler: "")
    with pytest.raises(ValueError, match=r"^sampler=cmaes: it searches for one objective"):
        Search(sampler="cmaes", objective=["a", "b"])
