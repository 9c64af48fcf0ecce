"""Where an update starts from: the live version, what it learned from, what it is compared on, what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import Arrays, Experiment, Run, UserError, load_experiment, load_run, warn
from oarlock_plugins.service.bundle import Bundle
from oarlock_plugins.service.export.writing import ON_CPU
from oarlock_plugins.service.updates import compare, plan, store
from oarlock_plugins.service.updates.live import live
from oarlock_plugins.service.updates.reading import Reader
from oarlock_plugins.service.updates.rows import (
    can_be_told_apart,
    check_shapes,
    drawn,
    joined,
    mark,
    new_among,
    new_files,
)

# Where the rows of the first run are at hand, all of them are gone through again.
REPLAY = 1.0


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        data: files and folders with the new rows.
        targets: the targets of an .npy file.
        holdout: files to compare on; where there are none, the run's test rows, or else its validation rows.
        replay: the share of the rows of before that is trained on again.
        frozen: whether BatchNorm keeps its statistics.
        allow_loss: by how much the metric may be worse.
        least_fit: the share of what it reaches on the hold-out that the candidate must reach on the new rows.
        any_signature: whether the model is served with --any-signature.
        overrides: of the configuration.
    """

    data: Sequence[Path]
    targets: Path | None = None
    holdout: Sequence[Path] = ()
    replay: float | None = None
    frozen: bool = False
    allow_loss: float = 0.0
    least_fit: float = 0.5
    any_signature: bool = False
    overrides: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """What an update has found.

    Attributes:
        version, bundle: the live version.
        experiment, run: what it was made of, and its run with its weights.
        files: the rows that it learned from in updates, the newest last.
        split, held_out: what to compare on, and what that is called.
        brought: how many rows there are in all that was given.
        new: those that are new, or None.
        known, held: how many were learned from already, and how many are held out.
        replay, replayed: the share of the rows of before, and how many that makes.
        marks: of the files that the new rows are from, where rows cannot be told apart.
    """

    version: int
    bundle: Bundle
    experiment: Experiment
    run: Run
    files: list[Path]
    split: str
    held_out: Any
    brought: int
    new: Arrays | None
    known: int
    held: int
    replay: float
    replayed: int
    marks: Sequence[str]


def find_start(model: Path, options: Options) -> Start:
    """Look at everything; nothing is written.

    Raises:
        UserError: the input is wrong.
    """
    version, bundle = live(model, options.any_signature)
    experiment = load_experiment(bundle.run)
    updated = plan.is_update(experiment)
    recorded = experiment.values["data"]
    files = [store.here(model, path) for path in (*recorded["earlier"], recorded["rows"])] if updated else []
    overrides = plan.of_live(experiment, options.overrides, files)
    try:
        run = load_run(bundle.run, [*overrides, *ON_CPU])
    except UserError as error:
        raise UserError(f"{error}\nThat is the run of {model.name} version {version}. Where its data is now, "
                        "say with data.base.…, such as data.base.path=FILE.") from error  # fmt: skip
    compare.require_same_answers(run, bundle)
    base = run.components["data"].base if updated else run.components["data"]
    first = base.build_data() if updated else run.data
    if isinstance(first.train, Arrays) and not isinstance(first.train.targets, np.ndarray):
        have = (
            f"targets by name ({', '.join(first.train.targets)})" if first.train.targets is not None else "no targets"
        )
        raise UserError(f"{model.name}: the rows that it learned from have {have}; an update takes rows with one array of them.\n"
                        "Train with the new rows and export again.")  # fmt: skip
    reader = Reader(base, first, bundle.inputs)
    split, held_out, held_files = _hold_out(run, reader, options)
    parts = reader.read_files(options.data, "--data", options.targets)
    brought = joined(parts) if parts else None
    if not isinstance(held_out, Arrays):
        warn(f"{model.name}: its {split} rows are not in memory, so those of them that are brought are learned. "
             "Bring none of them, or name rows of your own: --holdout FILE.")  # fmt: skip

    of_base = [first.train] if isinstance(first.train, Arrays) else []
    before = [*of_base, *(store.kept(path) for path in files)]
    replay = options.replay if options.replay is not None else REPLAY if of_base else 0.0
    if replay and not of_base:
        raise UserError(
            f"--replay {replay:g}: the training rows of the first run are not in memory; choose --replay 0."
        )
    new, known, held, marks = None, 0, 0, []
    if brought is not None:
        splits = [part for part in (first.valid, first.test) if isinstance(part, Arrays)]
        if can_be_told_apart([*of_base, *splits]):
            forbidden = [*splits, *([held_out] if isinstance(held_out, Arrays) else [])]
            new, known, held = new_among(brought, before, forbidden)
        else:  # equal rows are then not the same row; what was brought before is known by whole files
            learned = {*map(mark, before), *chain.from_iterable(map(store.marks_of, files))}
            of_new, known, held = new_files(parts, learned, set(map(mark, held_files)))
            new, marks = joined(of_new) if of_new else None, list(map(mark, of_new))
    if replay and new is not None:
        check_shapes([new, *before])
    replayed = len(drawn(joined(before), replay, version)) if replay else 0
    return Start(version, bundle, experiment, run, files, split, held_out, len(brought) if brought is not None else 0, new,
                 known, held, replay, replayed, marks)  # fmt: skip


def _hold_out(run: Run, reader: Reader, options: Options) -> tuple[str, Any, list[Arrays]]:
    """What to compare on is called, its rows, and the files that were named for it."""
    if options.holdout:
        parts = reader.read_files(options.holdout, "--holdout")
        if not parts:
            raise UserError(f"--holdout {' '.join(map(str, options.holdout))}: there are no rows to compare on.")
        return "--holdout", joined(parts), parts
    for split in ("test", "valid"):
        if getattr(run.data, split) is not None:
            return split, getattr(run.data, split), []
    raise UserError(
        "The data of the run has neither test nor validation rows; name rows to compare on: --holdout FILE."
    )
