"""How much each parameter decides about good results: PED-ANOVA, which Optuna computes with NumPy alone."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

# Below this many points the figures say more about chance than about the parameters.
FEWEST = 10
# It compares the best points with all; so many best ones at least, as Optuna advises.
BEST = 5
# Numbers of a list are compared one by one. Densities are smoothed more where there are fewer points, so those of the best
# and of all differ between two values that lie apart, whatever the parameter decides.
MOST_APART = 10


def importance(
    settings: Sequence[dict[str, Any]], costs: Sequence[float], axes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The share of each parameter, largest first, and a note on what they are, or why there are none.

    Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces".

    Args:
        settings: the values of each point.
        costs: what is minimised, for each point.
        axes: the parameters with their `kind`: log, linear or category.
    """
    everywhere = [axis for axis in axes if all(point.get(axis["key"]) is not None for point in settings)]
    missing = [axis["key"] for axis in axes if axis not in everywhere]
    if len(settings) < FEWEST:
        return {"values": [], "note": f"It needs at least {FEWEST} points that were trained to their end; "
                                      f"there {'is' if len(settings) == 1 else 'are'} {len(settings)}."}  # fmt: skip
    if len(everywhere) < 2:
        return {"values": [], "note": "It compares parameters, and fewer than two vary in all points."}
    if len(set(costs)) < 2:
        return {"values": [], "note": "All points have the same result, so no parameter decides about it."}
    share = min(max(0.1, BEST / len(settings)), 0.5)
    try:
        found = _ped_anova(settings, costs, everywhere, share)
    except Exception as error:  # whatever a version of Optuna refuses, the rest of the page is worth having
        return {"values": [], "note": f"Optuna could not compute it: {type(error).__name__}: {error}"}
    note = (
        f"How much each parameter decides about being among the best {share:.0%} of {len(settings)} points (PED-ANOVA)."
    )
    if missing:
        note += f" Left out, since not every point has it: {', '.join(missing)}."
    return {"values": [[key, round(value, 4)] for key, value in found.items()], "note": note}


def _ped_anova(
    settings: Sequence[dict[str, Any]], costs: Sequence[float], axes: Sequence[dict[str, Any]], share: float
) -> dict[str, float]:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    distributions: dict[str, BaseDistribution] = {}
    for axis in axes:
        apart = {str(point[axis["key"]]) for point in settings}
        if axis["kind"] == "category":
            distributions[axis["key"]] = CategoricalDistribution(axis["values"])
        elif len(apart) <= min(MOST_APART, len(settings) // 2):
            distributions[axis["key"]] = CategoricalDistribution(sorted(apart))
        else:
            low, high = axis["domain"]
            distributions[axis["key"]] = FloatDistribution(low, high, log=axis["kind"] == "log")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call the method experimental
        study = optuna.create_study(direction="minimize")
        for point, cost in zip(settings, costs, strict=True):
            params = {key: str(point[key]) if isinstance(one, CategoricalDistribution) else float(point[key])
                      for key, one in distributions.items()}  # fmt: skip
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=cost))
        # Optuna 4.0 had another name for it.
        known = inspect.signature(PedAnovaImportanceEvaluator).parameters
        quantile: dict[str, Any] = {"target_quantile" if "target_quantile" in known else "baseline_quantile": share}
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(**quantile))
