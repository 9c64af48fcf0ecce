"""Two models on the same rows, by the metric that the run was watched by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oarlock import Batch, Run, UserError, evaluate
from oarlock_plugins.service.bundle import Bundle
from oarlock_plugins.service.engines import compare
from oarlock_plugins.service.updates.rows import has_names


@dataclass(frozen=True)
class Comparison:
    """What the live model and the candidate reach, and what training came to.

    Attributes:
        metric, direction: what decides, and whether 'max' or 'min' is better.
        live, candidate: every metric of each on the hold-out.
        live_valid: those of the live model on the validation rows; empty where there are none.
        last_valid: those of the last epoch there, whose weights need not be the candidate's.
        live_new, candidate_new: those of both on the new rows.
        allowed: by how much the metric may be worse on the hold-out.
        least_fit: the share of what it reaches on the hold-out that the candidate must reach on the new rows.
    """

    metric: str
    direction: str
    live: Mapping[str, float]
    candidate: Mapping[str, float]
    live_valid: Mapping[str, float]
    last_valid: Mapping[str, float]
    live_new: Mapping[str, float]
    candidate_new: Mapping[str, float]
    allowed: float
    least_fit: float

    @property
    def reason(self) -> str:
        """Why the candidate must not be published; '' where it may.

        The first test is the gate. A few steps on rows that teach what is wrong change too little for it, and may even
        do a little good as noise does; such rows show in the other two: what contradicts the inputs is not learned, and
        if training on it goes on, it harms.
        """
        name = self.metric
        reached, before, after = self.candidate[name], self.live_valid, self.last_valid
        if not self._as_good(name, self.live, self.candidate, self.allowed):
            return f"{name} {reached:.6g} is worse than the live {self.live[name]:.6g}"
        if not self._fits(reached, self.candidate_new[name]):
            return (f"the new rows contradict what the model knows: trained on them, its {name} on them is "
                    f"{self.candidate_new[name]:.6g}, on the hold-out {reached:.6g}")  # fmt: skip
        if before and not self._as_good(name, before, after, self.allowed) and not self._as_good("loss", before, after):
            return (f"the new rows do harm: after the last epoch {name} was {after[name]:.6g} on the validation rows, "
                    f"where the live model has {before[name]:.6g}")  # fmt: skip
        return ""

    def _as_good(self, name: str, before: Mapping[str, float], after: Mapping[str, float], allowed: float = 0) -> bool:
        """Whether a metric is not worse; what is no finite number always is."""
        sign = 1 if self.direction == "max" and name != "loss" else -1
        return math.isfinite(after[name]) and sign * (after[name] - before[name]) >= -allowed

    def _fits(self, reached: float, on_new: float) -> bool:
        if self.least_fit == 0 or reached <= 0 or not math.isfinite(on_new):
            return math.isfinite(on_new)
        return on_new >= reached * self.least_fit if self.direction == "max" else on_new <= reached / self.least_fit

    def __str__(self) -> str:
        return f"{self.metric} {self.candidate[self.metric]:.6g}, live {self.live[self.metric]:.6g}"


def measured(
    live: Run, candidate: Run, rows: Any, new: Any, last: Mapping[str, float], allowed: float, least_fit: float
) -> Comparison:
    """Both on the same rows.

    Args:
        live, candidate: the runs, with their best weights.
        rows, new: the hold-out, and the new rows.
        last: the last evaluation of the candidate's training, `valid/accuracy` and so on.
        allowed, least_fit: as in `Comparison`.
    """
    metric = deciding(live)
    direction = live.measures[metric].direction if metric in live.measures else "min"
    last_valid = {name.partition("/")[2]: value for name, value in last.items() if name.startswith("valid/")}
    live_valid = evaluate(live, live.data.valid) if last_valid else {}
    return Comparison(metric, direction, evaluate(live, rows), evaluate(candidate, rows), live_valid, last_valid,
                      evaluate(live, new), evaluate(candidate, new), allowed, least_fit)  # fmt: skip


def deciding(run: Run) -> str:
    """The metric that the run is watched by; its task's first where it was watched by the training loss alone."""
    split, _, metric = run.monitor.partition("/")
    return metric if split != "train" else next(iter(run.measures), "loss")


def require_same_answers(run: Run, bundle: Bundle) -> None:
    """Refuse to go on from a run that would not be the model that is served.

    An update is trained with preprocessing that is made from the run's data anew: where that has changed, the same weights
    mean another model.

    Raises:
        UserError: its answers are others than those that the bundle was published with.
    """
    import paddle

    inputs, expected = bundle.reference()
    tensors = {
        one.name: paddle.to_tensor(inputs[one.name]) for one in bundle.inputs
    }  # in the order that the model knows
    data = run.hook.build_data()
    tree = tensors if has_names(data) else next(iter(tensors.values()))
    with paddle.no_grad():
        answers = run.compute_predictions(run.forward(run.model, data.prepared(Batch(tree))))
    for name, wanted in expected.items():
        difference, same = compare(np.asarray(answers[name].numpy()), wanted, bundle.tolerance)
        if not same:
            raise UserError(f"{bundle.path}: the run in it gives other answers than the model ({name} is off by "
                            f"{difference:.3g}).\nThe data that it was trained on has changed since; put it back, or train and export anew.")  # fmt: skip
