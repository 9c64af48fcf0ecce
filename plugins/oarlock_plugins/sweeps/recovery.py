"""A sweep taken up where its ledger stands: what its workers finished after the last driver, what they were at."""

from __future__ import annotations

import json
from typing import Any

from oarlock import UserError
from oarlock_plugins.dotted import dotted
from oarlock_plugins.sweeps.ledger import FINISHED, Trial, finite
from oarlock_plugins.sweeps.outcome import read_outcome
from oarlock_plugins.sweeps.search import Point, Search
from oarlock_plugins.sweeps.trials import SEED, Trials


def take_up(trials: Trials, sampler: str, limit: int | None) -> None:
    """Begin a sweep, or go on with it; `trials` has a search afterwards.

    Args:
        trials: with the ledger as it stands.
        sampler: one of SAMPLERS.
        limit: how many points at most; None for all of a grid.

    Raises:
        UserError: it is another sweep than it was.
    """
    _begin(trials, sampler)
    options = trials.options
    points = {trial.point for trial in trials.ledger.trials.values()}
    pruning = {"warmup": options.warmup, "reduction_factor": options.reduction_factor}
    trials.search = Search(trials.composer, sampler, options.pruner, limit, options.sampler_seed,
                           max(1, len(options.objectives)), pruning, len(points))  # fmt: skip
    for trial in trials.ledger.trials.values():
        trials.by_point.setdefault(trial.point, []).append(trial)
    _adopt(trials)
    _restore(trials)


def _begin(trials: Trials, sampler: str) -> None:
    """Note what the sweep is, or see that it is still what it was."""
    space = trials.composer.space
    now = {
        "space": space.describe(),
        "fixed": [*space.fixed_structure, *space.fixed_values],
        "sampler": sampler,
        "seeds": trials.options.seeds,
        "objective": trials.options.objectives,
        "base": trials.composer.base_values(),
        "choices": trials.composer.choices(),
    }
    now = json.loads(json.dumps(finite(now)))
    before = trials.ledger.sweep
    if not before:
        trials.ledger.write("sweep", format=1, **now, sync=True)
        return
    if not trials.ledger.objectives and before.get("objective") != now["objective"]:
        # No run has been measured by it: it may have been mistyped.
        trials.ledger.write("sweep", **{**before, "objective": now["objective"]}, sync=True)
        before = trials.ledger.sweep
    # An older ledger does not say what is in its choices.
    told = [key for key in now if key != "choices" or key in before]
    changes = differences(_whole({key: before.get(key) for key in told}), _whole({key: now[key] for key in told}))
    if changes:
        raise UserError(f"{trials.folder}: it is another sweep than it was.\n" + "\n".join(changes[:3]))


def _whole(sweep: dict[str, Any]) -> dict[str, Any]:
    """What a sweep is, with all values of each choice and not only those that are not the first's."""
    shared = dotted(sweep["base"] or {})
    return {**sweep, "choices": {choice: shared | own for choice, own in sweep.get("choices", {}).items()}}


def _adopt(trials: Trials) -> None:
    """Put the runs of folders that a torn ledger has forgotten back into it."""
    known = {trial.folder for trial in trials.ledger.trials.values()}
    folders = [path for path in trials.folder.iterdir() if path.name.isdigit() and path.name not in known]
    for folder in sorted(folders, key=lambda path: int(path.name)):
        outcome = read_outcome(folder)
        if outcome is None:
            continue
        found = _point_of(trials, outcome.overrides)
        if found is None:
            continue
        values, extra = found
        same = next((others[0] for others in trials.by_point.values() if others[0].values == values), None)
        point = same.point if same else max(trials.by_point, default=-1) + 1
        params = same.params if same else trials.composer.params(values)
        trial = Trial(int(folder.name), point, values, params, extra, outcome.overrides, folder.name)
        trials.write(trial)
        trials.ledger.write("attempt", number=trial.number, attempt=1, time=None)


def _point_of(trials: Trials, overrides: list[str]) -> tuple[dict[str, str], list[str]] | None:
    """The values of the parameters in a run's overrides; None where it is no run of this sweep."""
    composer = trials.composer
    given = dict(override.partition("=")[::2] for override in overrides)
    values = {one.key: given[one.key] for one in composer.space.parameters if one.key in given}
    extra = [f"{SEED}={given[SEED]}"] if trials.options.seeds > 1 and SEED in given else []
    try:
        same = composer.overrides(values, tuple(extra)) == overrides
    except KeyError:
        return None
    return (values, extra) if same else None


def _restore(trials: Trials) -> None:
    """Bring the search and the queue to where the ledger stands."""
    ledger, options = trials.ledger, trials.options
    for number, found in sorted(trials.by_point.items()):
        point = Point(number, found[0].values, found[0].params)
        trials.search.restore(point)
        trials.write_all(point)  # a kill may have come between those of its seeds
    for trial in ledger.trials.values():
        # What they were measured by is known again from any of them, where that line of the ledger was damaged.
        if not ledger.objectives and (trial.objective or trial.reports):
            outcome = read_outcome(trials.folder / trial.folder)
            if outcome is not None:
                trials.settle(outcome.monitor, outcome.directions)
    for trial in ledger.trials.values():
        if trial.status in FINISHED:
            continue
        outcome = read_outcome(trials.folder / trial.folder)
        failed = trial.status == "failed"
        # A run that failed may have been resumed by itself since, as where a plugin has another version now.
        if outcome is not None and outcome.status in FINISHED and (not failed or outcome.overrides == trial.overrides):
            trials.settle(outcome.monitor, outcome.directions)
            trials.end(trial, outcome.status, "", outcome.seconds, outcome)
        elif failed and trial.attempts <= options.retries:
            trials.put_back(trial, trial.attempts, trial.error, now=False)
        elif not failed and trial.status != "waiting":
            trials.put_back(trial, max(0, trial.attempts - 1), now=False)
    for number, found in sorted(trials.by_point.items()):
        for evaluation, value in sorted(found[0].reports.items()) if options.pruner != "none" else ():
            trials.tell_report(number, evaluation, value)
        if not trials.tell(number):
            trials.enqueue(number)


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """What differs between two nested dicts, a line each."""
    found = []
    for key in dict.fromkeys((*before, *now)):
        where = f"{path}.{key}".lstrip(".")
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, where)
        elif one != other:
            found.append(f"{where} was {one} and is {other}")
    return found
