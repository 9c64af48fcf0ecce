"""Which rows are trained on, which validate, which test."""

from __future__ import annotations


def check_split(valid_fraction, test_fraction, split_seed):
    """Refuse shares that leave nothing to train on, where NaN is no share, and a seed that is none.

    Raises:
        ValueError: it names both shares, or the seed.
    """
    check_seed(split_seed)
    if not (valid_fraction >= 0 and test_fraction >= 0 and valid_fraction + test_fraction < 1):
        raise ValueError("valid_fraction, test_fraction: expected two shares that leave rows to train on")


def check_seed(split_seed):
    """Refuse a seed that NumPy does not take.

    Raises:
        ValueError: it names the seed.
    """
    if split_seed < 0:
        raise ValueError(f"split_seed={split_seed}: expected at least 0")


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
