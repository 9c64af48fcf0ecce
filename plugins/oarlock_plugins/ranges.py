"""The range in which a component's number must lie, and what is said when it does not."""

from __future__ import annotations


def within(least, below, **values):
    """Refuse a value that is not in [least, below); NaN never is.

    Raises:
        ValueError: it names the value and the range.
    """
    for name, value in values.items():
        if not least <= value < below:
            raise ValueError(f"{name}={value}: expected {least} <= {name} < {below}")
