"""Many runs in one process, one after another: what one leaves the next one takes up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.checking import check, plain_values
from oarlock.errors import UserError, one_line
from oarlock.kept import Kept
from oarlock.new_run import Result, result_of, train_config
from oarlock.paddle_import import import_paddle
from oarlock.plain import Experiment, literal, replaced, typed
from oarlock.plugins import load_host
from oarlock.run import Run


class Runner:
    """Trains one run after another in this process; the plugins are loaded once.

    Raises:
        UserError: Paddle is not installed.
    """

    def __init__(self) -> None:
        import_paddle()
        self._host = load_host()
        self._kept, self._in_use = Kept(lasting=True), threading.Lock()

    def train(
        self,
        experiment: Experiment,
        folder: Path | str,
        hooks: Sequence[object] = (),
        keeps: Callable[[Run], bool] | None = None,
        command: Sequence[str] | None = None,
    ) -> Result:
        """Train a composed experiment in a new folder.

        Args:
            experiment: what to train.
            folder: the folder to make.
            hooks: objects with `@hookimpl` methods, called after those of the components.
            keeps: asked after the last step whether the run is worth a folder. It gets one earlier where a checkpoint is
                due or something fails. By default every run has one from its beginning.
            command: what to type for the same run, where that is not to train the experiment's overrides.

        Raises:
            UserError: the experiment is not valid, the parts do not fit, or the folder is there already.
            RunFailed: the run failed; its folder says how.
            Interrupted: a signal came; the run is saved.
        """
        with self._lent() as kept:
            composed, values = self._typed(experiment, kept)
            command = experiment.command if command is None else command
            run = train_config(self._host, composed, Path(folder), number=False, hooks=hooks, command=command, kept=kept,
                               keeps=keeps, experiment=replace(experiment, values=values))  # fmt: skip
            return result_of(run)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Kept]:
        """What the runs before have left; nothing for a run inside of another, whose rows and programs these are."""
        if not self._in_use.acquire(blocking=False):
            yield Kept()
            return
        try:
            yield self._kept
        finally:
            self._in_use.release()

    def _typed(self, experiment: Experiment, kept: Kept) -> tuple[DictConfig, dict[str, Any]]:
        """The experiment's configuration; that of an earlier run, with what differs set, where it has the same parts.

        Returns:
            it, and its values as plain data; the experiment may have given 1 for 1.0.
        """
        key = json.dumps(experiment.components, sort_keys=True)
        before = kept.find("configuration", key)
        kept.keep("configuration", key, None, most=8)  # half of the changes may be refused
        changed = _changed(before, experiment.values) if before else None
        composed, values = changed or self._checked(experiment)
        kept.keep("configuration", key, (composed, plain_values(experiment.values), values), most=8)
        return composed, values

    def _checked(self, experiment: Experiment) -> tuple[DictConfig, dict[str, Any]]:
        composed = typed(experiment.values, experiment.components, self._host)
        try:
            check(composed, self._host)
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key}: {one_line(error)}") from error
        return composed, plain_values(composed)

    def resume(self, folder: Path | str, hooks: Sequence[object] = ()) -> Result | None:
        """Continue a run, as `oarlock resume` does; None where it has ended already.

        Raises:
            UserError: the folder is no run, or versions have changed.
            RunFailed: the run failed; its folder says how.
            Interrupted: a signal came; the run is saved.
        """
        from oarlock.commands import resume  # which needs Hydra's parser, as no experiment does

        run = resume(folder, hooks=hooks, host=self._host)
        return result_of(run) if run is not None else None


def _changed(known: Any, now: dict[str, Any]) -> tuple[DictConfig, dict[str, Any]] | None:
    """An earlier run's configuration with the values that differ; None where it must be made and checked anew."""
    composed, before, values = known
    changes = differences(before, now) if isinstance(now, dict) else None
    if changes is None:
        return None
    try:
        for path, value in changes.items():
            OmegaConf.update(composed, path, literal(value), merge=False)
            set_to = OmegaConf.select(composed, path, throw_on_missing=True)
            values = replaced(values, path.split("."), plain_values(set_to))
    except OmegaConfBaseException:
        return None
    return composed, values


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> dict[str, Any] | None:
    """The values of `now` that are others in `before`, by path; None where not both have the same keys."""
    if before.keys() != now.keys():
        return None
    found: dict[str, Any] = {}
    for key, value in now.items():
        where = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and isinstance(before[key], dict):
            inner = differences(before[key], value, where)
            if inner is None:
                return None
            found |= inner
        elif value != before[key] or type(value) is not type(before[key]):
            found[where] = value
    return found
