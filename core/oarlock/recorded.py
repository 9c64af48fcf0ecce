"""A run on the disk: its configuration typed again, its best weights back in the model."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from oarlock import checkpoint
from oarlock.changes import apply_overrides
from oarlock.checking import check, chosen_components, plain_values
from oarlock.config_files import read_plain
from oarlock.errors import RunFailed, UserError, nearest, shown_path
from oarlock.evaluation import evaluate as evaluate_split
from oarlock.experiment import build_run
from oarlock.plain import Experiment, literal, typed
from oarlock.plugins import NO_DISTRIBUTION, Host, load_host
from oarlock.record import CONFIG, RunFolder
from oarlock.run import Run
from oarlock.schema import ROOT_FIELDS
from oarlock.selection import flags_of
from oarlock.translation import user_errors
from oarlock.warm_start import described, other_column


def load_run(folder: Path | str, overrides: Sequence[str] = ()) -> Run:
    """A recorded run, built again with its best weights and in eval mode; nothing is trained or written.

    Of other data it takes the rows alone: classes, columns and preprocessing are a part of what was trained.

    Args:
        folder: the run's folder.
        overrides: other values than it was made with, `["data.root=/mnt/new"]`.

    Raises:
        UserError: it is no run, has no intact checkpoint, a component of it is not installed, or the data has other
            classes or another form than that which it was trained on.
    """
    host, folder = load_host(), Path(folder)
    record = RunFolder(folder)
    composed = load_recorded(host, record, overrides)
    files, path = checkpoint.intact(folder)
    if path is None:
        raise UserError(f"{shown_path(folder)}: it has no intact checkpoint.")
    state = json.loads(files[checkpoint.STATE])
    names = state.get("class_names")
    _take_option(composed, "class_names", names)
    _take_option(composed, "features", state.get("columns"))
    try:
        run = build_run(host, composed, record.record.get("runtime", {}))
    except UserError as error:
        made_in = record.record.get("cwd", "")
        about_data = any(override.lstrip("+~").startswith("data") for override in overrides)
        if about_data or made_in in ("", str(Path.cwd())):
            raise
        raise UserError(f"{error}\nThe run was made in {made_in}, where its relative paths begin.") from error
    if run.class_names != names:
        raise UserError(f"{shown_path(folder)}: it was trained on {described(names)}; the data has "
                        f"{described(run.class_names)}.")  # fmt: skip
    if other := other_column(run, state):
        raise UserError(f"{shown_path(folder)}: {other}.")
    try:
        arrays = checkpoint.unpack_arrays(files.get(checkpoint.BEST, files[checkpoint.MODEL]))
        checkpoint.load_weights(run.model, arrays, path.name)
        fitted = checkpoint.unpack_arrays(files[checkpoint.PREPROCESS]) if checkpoint.PREPROCESS in files else {}
        if run.data.preprocess is not None:
            checkpoint.load_weights(run.data.preprocess, fitted, path.name, "the data's preprocessing")
        elif fitted:
            raise RunFailed("it was trained on preprocessed rows, and the data has no preprocessing now")
    except RunFailed as error:
        raise UserError(f"{shown_path(folder)}: {error}.") from error
    run.record = record
    run.model.eval()
    return run


def refuse_changed_data(run: Run, files: Mapping[str, bytes], folder: Path) -> None:
    """Refuse to go on with a run whose data is fitted to other rows than when it was trained.

    Up to what another machine may round otherwise.

    Raises:
        UserError: it has other classes or columns, or another preprocessing.
    """
    state = json.loads(files[checkpoint.STATE])
    before = checkpoint.unpack_arrays(files[checkpoint.PREPROCESS]) if checkpoint.PREPROCESS in files else {}
    now = run.data.preprocess.state_dict() if run.data.preprocess is not None else {}
    same = all(np.allclose(now[name].numpy(), array, rtol=1e-5, atol=1e-6) for name, array in before.items()
               if name in now and list(now[name].shape) == list(array.shape))  # fmt: skip
    if state.get("class_names") != run.class_names or other_column(run, state) or not same:
        raise UserError(f"{shown_path(folder)}: its data has changed since it was trained, so it would not go on exactly.\n"
                        "Put the data back, or begin another run with trainer.init_from.")  # fmt: skip


def _take_option(composed: DictConfig, option: str, names: list[str] | None) -> None:
    """Have the data number its classes, or order its columns, as the run does, where its component can be told."""
    if names is not None and option in composed.data and composed.data[option] in (None, []):
        with contextlib.suppress(OmegaConfBaseException):  # its option is of another kind: what comes of it is compared
            composed.data[option] = literal(names)


def load_experiment(folder: Path | str) -> Experiment:
    """What a recorded run was made of, as plain data: to be changed, and trained as another run.

    Raises:
        UserError: it is no run, or a component of it is not installed.
    """
    host = load_host()
    return _plain(load_recorded(host, RunFolder(Path(folder))), host, ())


def vary_experiment(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """The experiment with other values, checked; it need not have been valid before.

    Args:
        experiment: its values and components.
        overrides: `["trainer.epochs=3", "optimizer=sgd"]`; a list of components cannot be changed by one.

    Raises:
        UserError: a component is not installed, or a value is not valid.
    """
    host = load_host()
    changed = apply_overrides(typed(experiment.values, experiment.components, host), overrides, host.registry)
    with user_errors(host):
        check(changed, host)
    return _plain(changed, host, overrides)


def _plain(composed: DictConfig, host: Host, overrides: Sequence[str]) -> Experiment:
    chosen = chosen_components(composed, host.registry)
    return Experiment(plain_values(composed), chosen, list(overrides), flags_of(os.environ))


def evaluate(folder: Path | str, overrides: Sequence[str] = (), splits: Sequence[str] = ()) -> dict[str, float]:
    """The best weights of a run on its validation and test data, or on other data.

    Raises:
        UserError: the run has no weights, or the data has no such split.
    """
    run = load_run(folder, overrides)
    metrics: dict[str, float] = {}
    for split in splits or [split for split in run.splits if split != "train"]:
        if split not in run.splits:
            raise UserError(f"split={split}: the data has no such split. {nearest(split, run.splits)}")
        metrics |= {f"{split}/{name}": value for name, value in evaluate_split(run, getattr(run.data, split)).items()}
    return metrics


def load_recorded(host: Host, record: RunFolder, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that a run was made with, typed again, with overrides.

    Raises:
        UserError: a component of the run is not installed, or an override is not valid.
    """
    values, _ = read_plain(record.path / CONFIG)
    if not isinstance(values, dict):
        raise UserError(f"{record.path / CONFIG}: expected a mapping.")
    parts = [*ROOT_FIELDS, *(path.partition(".")[0] for path in record.record["components"])]
    if missing := next((key for key in parts if key not in values), None):
        raise UserError(f"{record.path / CONFIG}: it has no '{missing}'; it is not whole.")
    for path, made_with in record.record["components"].items():
        entry = host.registry.entries.get(made_with["component"])
        if entry is None:
            group, _, name = made_with["component"].partition("/")
            reason = host.explain_missing(group, name)
            named = made_with["distribution"] == NO_DISTRIBUTION
            source = "a module that was named with -p; name it again" if named else made_with["distribution"]
            raise UserError(f"{path} was {made_with['component']} of {source}. {reason}")
    components = {path: made_with["component"] for path, made_with in record.record["components"].items()}
    changed = apply_overrides(typed(values, components, host), overrides, host.registry)
    with user_errors(host):
        check(changed, host)
    return changed
