"""Calling functions with what they take, one by one and in a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.calls import adapt, call, in_order

GIVEN = ["run", "batch", "model"]
TAKES = st.lists(st.sampled_from(GIVEN), unique=True)


def taking(number, names, made):
    """A function of those arguments that notes its number and what it was given."""
    scope = {"made": made}
    exec(
        f"def function({', '.join(names)}):\n    made.append(({number}, [{', '.join(names)}]))\n    return {number}",
        scope,
    )
    return scope["function"]


@given(takes=st.lists(TAKES, max_size=6))
def test_all_are_called_in_their_order_with_what_they_take(takes):
    made = []
    calls = [(taking(number, names, made), names) for number, names in enumerate(takes)]
    assert in_order(calls, GIVEN)(1, 2, 3) is None
    values = dict(zip(GIVEN, (1, 2, 3), strict=True))
    expected = [(number, [values[name] for name in names]) for number, names in enumerate(takes)]
    assert made == expected

    assert [adapt(function, names, GIVEN)(1, 2, 3) for function, names in calls] == list(range(len(takes)))
    assert [call(function, **values) for function, _ in calls] == list(range(len(takes)))


def test_methods_of_all_kinds_are_called_on_what_they_are_of():
    made = []

    class Some:
        def of_one(self, run):
            made.append((self, run))

        @classmethod
        def of_all(cls):
            made.append(cls)

        @staticmethod
        def of_none(run):
            made.append(run)

    one, other = Some(), Some()
    calls = [(one.of_one, ["run"]), (other.of_one, ["run"]), (Some.of_all, []), (one.of_none, ["run"])]
    in_order(calls, ["run"])(7)
    assert made == [(one, 7), (other, 7), Some, 7]


def test_an_error_ends_the_row():
    made = []

    def fails(run):
        raise ValueError(run)

    row = in_order([(taking(0, [], made), []), (fails, ["run"]), (taking(2, [], made), [])], ["run"])
    with pytest.raises(ValueError, match="7"):
        row(7)
    assert made == [(0, [])]
