"""Which rows are trained on, which validate, which test."""

from __future__ import annotations


def check_fractions(valid_fraction, test_fraction):
    """Refuse shares that leave nothing to train on; NaN is no share.

    Raises:
        ValueError: it names both.
    """
    if not (valid_fraction >= 0 and test_fraction >= 0 and valid_fraction + test_fraction < 1):
        raise ValueError("valid_fraction, test_fraction: expected two shares that leave rows to train on")


def split_rows(rows, valid_fraction, test_fraction, seed):
    """Train, valid and test of `rows`, drawn with `seed`; None in the place of one without a row.

    Args:
        rows: an `Arrays`.
        valid_fraction, test_fraction: shares of all rows.
        seed: the seed of the split, apart from the run's.
    """
    rest, test = rows.split(test_fraction, seed)
    train, valid = rest.split(valid_fraction / (1 - test_fraction), seed + 1)
    return train, valid if len(valid) else None, test if len(test) else None
