"""Every run below a folder, whoever made it: the trials of sweeps by their ledgers, other runs by their records."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oarlock import UserError
from oarlock_plugins.reports.values import flat, plain
from oarlock_plugins.sweeps.ledger import ENDED, FINISHED, LEDGER, Replay, Trial
from oarlock_plugins.sweeps.outcome import Outcome, objective_values, read_history, read_outcome

RUN, SWEEP = "run.json", "sweep.json"


@dataclass
class Run:
    """A run as a report sees it.

    Attributes:
        trial: its place in a sweep; one of its own where there is no ledger.
        folder: where it is.
        config: each value of its configuration by its dotted key, with the chosen component of each group.
        metrics: of the best weights, and of the test.
        history: its evaluations.
        log: what it printed, or None.
        command: what to type for the same run.
    """

    trial: Trial
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    log: Path | None
    command: list[str]
    outcome: Outcome | None = None

    @property
    def error(self) -> str:
        return self.trial.error if self.trial.status == "failed" else ""


@dataclass
class Collection:
    """The runs below a folder.

    Attributes:
        objectives: name and direction of what they are compared by.
        varied: the keys that differ, those that a sweep varies first.
        problems: what could not be read, a line each.
    """

    folder: Path
    runs: list[Run] = field(default_factory=list)
    sweeps: list[Path] = field(default_factory=list)
    objectives: list[list[str]] = field(default_factory=list)
    directions: dict[str, str] = field(default_factory=dict)
    varied: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def single(self) -> bool:
        return len(self.runs) == 1 and not self.sweeps


def collect(folder: Path) -> Collection:
    """All runs in a folder and below it.

    Raises:
        UserError: there is none.
    """
    if not folder.is_dir():
        raise UserError(f"report {folder}: there is no such folder.")
    found = Collection(folder)
    spaces: dict[str, None] = {}
    objectives: list[list[list[str]]] = []
    taken: set[Path] = set()
    for path in _folders(folder):
        if (path / LEDGER).is_file():
            replay = Replay(path)
            found.sweeps.append(path)
            spaces |= dict.fromkeys(replay.sweep.get("space", {}))
            objectives += [replay.objectives] if replay.objectives else []
            if replay.damaged:
                found.problems.append(f"{path / LEDGER}: {replay.damaged} damaged line{'s' * (replay.damaged > 1)} "
                                      "left out")  # fmt: skip
            points: dict[int, int] = {}
            flags = _flags(path)
            runs: list[Run] = []
            for trial in replay.trials.values():
                point = points.setdefault(trial.point, len(found.runs) + len(runs))
                taken.add(path / trial.folder)
                runs.append(_trial(path, replace(trial, point=point), flags, found.problems))
            _configure_bare(runs, replay.sweep)
            found.runs += runs
        elif (path / RUN).is_file() and path not in taken:
            run = _alone(path, len(found.runs), found.problems)
            found.runs += [run] if run is not None else []
    if not found.runs:
        raise UserError("\n".join([f"report {folder}: there is no run in this folder, nor below it.", *found.problems,
                                   "Expected the folder of a run, of a sweep, or one that holds some."]))  # fmt: skip
    for run in found.runs:
        found.directions |= run.outcome.directions if run.outcome else {}
    found.directions |= {"seconds": "min", "epochs": "min"}
    _agree(found, objectives)
    found.directions |= dict(found.objectives)
    found.varied = _varied(found.runs, list(spaces), bool(spaces) and len(found.sweeps) == 1)
    return found


def _folders(folder: Path) -> Iterator[Path]:
    """Folders from above to below in the order of their numbers; none of those inside a run.

    Then the runs and sweeps to which links lead, those that were not met before. Other links are not followed: one may lead
    round in a circle, or to all files of a machine.
    """
    links: list[Path] = []
    met: set[tuple[int, int]] = set()
    yield from _below(folder, links, met)
    while links:
        links.sort(key=lambda link: not (link / LEDGER).is_file())  # another may lead to a trial of a sweep
        yield from _below(links.pop(0), links, met)


def _below(folder: Path, links: list[Path], met: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        found = folder.stat()
    except OSError:
        return
    if (found.st_dev, found.st_ino) in met:
        return
    met.add((found.st_dev, found.st_ino))
    yield folder
    try:
        inner = [] if (folder / RUN).is_file() else [entry for entry in os.scandir(folder)
                                                     if entry.is_dir() and not entry.name.startswith(".")]  # fmt: skip
    except OSError:
        return
    for entry in sorted(inner, key=lambda entry: (not entry.name.isdigit(), entry.name.zfill(9))):
        path = Path(entry.path)
        if not entry.is_symlink():
            yield from _below(path, links, met)
        elif (path / RUN).is_file() or (path / LEDGER).is_file():
            links.append(path)


def _flags(sweep: Path) -> list[str]:
    """What stands before the overrides in the command of a sweep, and in that of each of its runs."""
    try:
        command = json.loads((sweep / SWEEP).read_text(encoding="utf-8"))["command"]
        return [str(word) for word in command[2 : command.index("-m")]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # there is none, or JSON that is no such record
        return []


def _trial(sweep: Path, trial: Trial, flags: list[str], problems: list[str]) -> Run:
    """A trial of a sweep; its folder says more than the ledger while it goes on, where a line is damaged, and where somebody
    has gone on with it by itself: `oarlock resume sweeps/first/3 trainer.epochs=20`."""
    folder = sweep / trial.folder
    outcome = _outcome(folder, problems)
    metrics = trial.metrics
    if outcome is not None and (trial.status not in ENDED or _went_on(trial, outcome)):
        metrics, trial.objective = outcome.metrics, None
        trial.epochs, trial.seconds = outcome.epochs, outcome.seconds
        if outcome.status in ENDED:
            trial.status, trial.error = outcome.status, outcome.reason
    log = sweep / "logs" / f"{trial.number}.txt"
    run = _run(trial, folder, outcome, metrics, log if log.is_file() else None, problems)
    run.config |= {key: plain(value) for key, value in trial.params.items()}
    if outcome is None:
        run.command[2:2] = flags
    return run


def _went_on(trial: Trial, outcome: Outcome) -> bool:
    """Whether a run has come further than the trial that it was."""
    return outcome.status in FINISHED and (trial.status not in FINISHED or outcome.epochs > trial.epochs)


def _configure_bare(runs: list[Run], sweep: dict[str, Any]) -> None:
    """Give the runs of a sweep that have no folder their configuration.

    It is that of a run with the same components, but for what each was given. Where none of those has a folder, nothing is
    known of the components that vary but what was typed.
    """
    base = sweep.get("base", {})
    shared = flat(base)
    structure = list(dict.fromkeys(key for run in runs for key in run.trial.values if key not in shared))
    alike: dict[tuple[str | None, ...], dict[str, Any]] = {}
    for run in runs:
        if run.outcome is not None:
            alike.setdefault(_choices(run, structure), run.config)
            # The sweep's own record has the options of each component, but not its name.
            shared |= {key: run.config[key] for key in base.keys() & run.config.keys() if isinstance(base[key], dict)}
    varied = {re.split("[.@]", key.lstrip("+~"))[0] for key in structure}
    if not varied <= base.keys():  # an experiment may change any value
        shared = {}
    shared = {key: value for key, value in shared.items() if key.partition(".")[0] not in varied}
    for run in runs:
        if run.outcome is None:
            typed = alike.get(_choices(run, structure), _typed(run.trial.overrides))
            run.config = {**shared, **typed, **run.config, **_typed(run.trial.extra)}


def _choices(run: Run, structure: list[str]) -> tuple[str | None, ...]:
    return tuple(run.trial.values.get(key) for key in structure)


def _typed(overrides: list[str]) -> dict[str, Any]:
    """The values of overrides, as a report shows them."""
    pairs = (override.lstrip("+").partition("=")[::2] for override in overrides if not override.startswith("~"))
    return {key: plain(value) for key, value in pairs}


def _alone(folder: Path, number: int, problems: list[str]) -> Run | None:
    outcome = _outcome(folder, problems)
    if outcome is None:
        return None
    overrides = [word for word in outcome.command[2:] if not word.startswith("-") and ("=" in word or word[:1] == "~")]
    trial = Trial(number, number, {}, {}, [], overrides, str(folder), outcome.status, epochs=outcome.epochs,
                  error=outcome.reason, seconds=outcome.seconds)  # fmt: skip
    log = folder / "train.log"
    return _run(trial, folder, outcome, outcome.metrics, log if log.is_file() else None, problems)


def _run(
    trial: Trial, folder: Path, outcome: Outcome | None, metrics: dict[str, float], log: Path | None,
    problems: list[str],
) -> Run:  # fmt: skip
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    command = ["oarlock", "train", *trial.overrides]
    if outcome is not None:
        config, command = _config(folder, outcome, problems), repeatable(outcome.command)
        history = [row for row in read_history(folder) if isinstance(row, dict)]
    return Run(trial, folder, config, metrics, history, log, command, outcome)


def repeatable(command: list[str]) -> list[str]:
    """A run's command without the folder that is taken by the run itself."""
    return [word for word in command if not word.startswith("hydra.run.dir=")]


def _outcome(folder: Path, problems: list[str]) -> Outcome | None:
    if not (folder / RUN).is_file():
        return None
    try:
        outcome = read_outcome(folder)
    except (KeyError, TypeError, AttributeError):  # JSON, but not the record of a run
        outcome = None
    if outcome is None:
        problems.append(f"{folder}: its run.json or metrics.jsonl cannot be read")
    return outcome


def _config(folder: Path, outcome: Outcome, problems: list[str]) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    chosen = {}
    for group, one in (outcome.record.get("components") or {}).items():
        kind, _, name = str(one.get("component", "")).partition("/")
        if kind == group:  # of a group that takes a list, the keys below it say which were chosen
            chosen[group] = name
    try:
        with (folder / "config.yaml").open(encoding="utf-8") as file:
            read = yaml.load(file, loader)
    except (OSError, ValueError, yaml.YAMLError):
        problems.append(f"{folder / 'config.yaml'} cannot be read")
        return chosen
    return chosen | flat(read if isinstance(read, dict) else {})


def _agree(found: Collection, objectives: list[list[list[str]]]) -> None:
    """What all are compared by: the objectives of the sweeps if they have the same, else what most runs monitor."""
    known = [(run, run.outcome) for run in found.runs if run.outcome is not None]
    same = bool(objectives) and all(one == objectives[0] for one in objectives)
    if same:
        found.objectives = objectives[0]
    elif known:
        monitor = Counter(outcome.monitor for _, outcome in known).most_common(1)[0][0]
        found.objectives = [[monitor, found.directions.get(monitor, "min")]]
    for run in found.runs:  # also those of which the sweep has kept a row alone
        if not same or run.trial.objective is None:
            run.trial.objective = objective_values(run.metrics, run.trial.epochs, found.objectives, run.trial.seconds)


def _varied(runs: list[Run], space: list[str], only: bool) -> list[str]:
    """The keys with several values; `only` those of the space where it says all that varies."""
    values: dict[str, set[str]] = {key: set() for key in space}
    for run in runs:
        for key, value in run.config.items():
            if not only or key in values:
                values.setdefault(key, set()).add(str(value))
    return [key for key, different in values.items() if len(different) > 1]
