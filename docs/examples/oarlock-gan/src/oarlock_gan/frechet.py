"""The Frechet distance between two samples."""

from __future__ import annotations

import numpy as np


def frechet_distance(first, second):
    """Squared Frechet distance between the normal distributions fitted to two samples [rows, values].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson & Landau 1982), in float64.
    """
    first, second = first.astype("float64"), second.astype("float64")
    covariances = [np.cov(rows, rowvar=False) for rows in (first, second)]
    # The eigenvalues of C1 C2 are real and not negative, but for rounding.
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0))
    between = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(between + np.trace(covariances[0] + covariances[1]) - 2 * roots.sum())
