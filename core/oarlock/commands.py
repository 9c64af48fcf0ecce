"""What the core's commands do, for the command line and for Python."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import logging
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from omegaconf import DictConfig, OmegaConf

from oarlock import checkpoint, config, vetting
from oarlock.config_files import read_yaml
from oarlock.errors import RunFailed, UserError, nearest, one_line, raised_at, shown_path
from oarlock.experiment import build_run, complete_run
from oarlock.kept import Kept
from oarlock.paddle_import import import_paddle
from oarlock.plugins import Host, load_host
from oarlock.record import CONFIG, LOG, Draft, RunFolder
from oarlock.recorded import intact, load_recorded, warm_start
from oarlock.run import Run
from oarlock.sealed import write_atomically
from oarlock.signals import Signals
from oarlock.training import Interrupted, finish
from oarlock.training import train as train_loop

if TYPE_CHECKING:
    import paddle

log = logging.getLogger("oarlock")

# What a resumed run may change without becoming another run.
RESUMABLE = ("trainer.epochs", "trainer.max_steps", "trainer.checkpoint", "trainer.num_workers")


@dataclass
class Result:
    """What a finished run leaves: its metrics, its folder, the trained model with the best weights."""

    metrics: dict[str, float]
    best: dict[str, Any] | None
    folder: Path
    status: str
    reason: str
    model: paddle.nn.Layer


def train(overrides: Sequence[str] = (), *, config_dir: str | None = None, hooks: Sequence[object] = ()) -> Result:
    """Train one run, as `oarlock train` does.

    Args:
        overrides: as on the command line: `["optimizer=sgd", "trainer.epochs=3"]`.
        config_dir: a folder with more configuration files.
        hooks: objects with `@hookimpl` methods, called after those of the components.

    Raises:
        UserError: the overrides are not valid, or the parts do not fit.
        RunFailed: the run failed; its folder says how.
    """
    host = load_host()
    composed = config.compose(host, overrides, config_dir)
    number = not composed.folder_chosen
    return result_of(train_config(host, composed.config, composed.folder, number=number, hooks=hooks))


def result_of(run: Run) -> Result:
    """The public result of a run."""
    assert run.record is not None
    return Result(run.metrics, run.best, run.record.wanted, run.status, run.stop_reason, run.model)


class Runner:
    """Trains one run after another in this process; the plugins are loaded once.

    Raises:
        UserError: Paddle is not installed.
    """

    def __init__(self) -> None:
        import_paddle()
        self._host = load_host()
        self._kept = Kept()

    def train(
        self,
        experiment: config.Experiment,
        folder: Path,
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
            UserError: the parts do not fit, or the folder is there already.
            RunFailed: the run failed; its folder says how.
            Interrupted: a signal came; the run is saved.
        """
        typed = self._typed(experiment)
        command = experiment.command if command is None else command
        run = train_config(self._host, typed, folder, number=False, hooks=hooks, command=command, kept=self._kept,
                           keeps=keeps)  # fmt: skip
        return result_of(run)

    def _typed(self, experiment: config.Experiment) -> DictConfig:
        """The experiment's configuration; that of an earlier run, with what differs set, where it has the same parts."""
        key = json.dumps(experiment.components, sort_keys=True)
        known = self._kept.find("configuration", key)
        changes = differences(known[1], experiment.values) if known is not None else None
        if changes is None:
            typed = config.typed(OmegaConf.create(experiment.values), experiment.components, self._host.registry)
        else:
            typed = known[0]
            self._kept.keep("configuration", key, None, most=8)  # half of the changes may be refused
            for path, value in changes.items():
                OmegaConf.update(typed, path, value, merge=False)
        self._kept.keep("configuration", key, (typed, experiment.values), most=8)
        return typed

    def resume(self, folder: Path, hooks: Sequence[object] = ()) -> Result | None:
        """Continue a run, as `oarlock resume` does; None where it has ended already.

        Raises:
            UserError: the folder is no run, or versions have changed.
            RunFailed: the run failed; its folder says how.
            Interrupted: a signal came; the run is saved.
        """
        run = resume(folder, hooks=hooks, host=self._host)
        return result_of(run) if run is not None else None


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


def train_config(
    host: Host,
    composed: DictConfig,
    folder: Path,
    *,
    number: bool,
    last: bool = False,
    hooks: Sequence[object] = (),
    command: Sequence[str] = (),
    kept: Kept | None = None,
    keeps: Callable[[Run], bool] | None = None,
) -> Run:
    """Train a composed configuration in a new folder, numbered when it is taken and `number` allows it.

    Args:
        host: the plugins.
        composed: the checked configuration.
        folder: the folder to make.
        number: whether another may be taken where this one is there already.
        last: whether the process has nothing to do afterwards, so that a signal after the run is ignored.
        hooks: the caller's own hook implementations.
        command: what to type for this run; by default what this process was started with.
        kept: what the runs of this process before this one have left for it.
        keeps: as for `Runner.train`.
    """
    import_paddle()  # before the signals are watched: it installs handlers of its own
    with Signals(last) as signals:
        run = build_run(host, composed, hooks=hooks, kept=kept)
        complete_run(run)
        if run.config.trainer.init_from:
            warm_start(run, Path(run.config.trainer.init_from))
        record = new_record(host, run, command)
        if keeps is not None:
            run.keeps, run.record = keeps, Draft(folder, run.text, record)
            try:
                execute(run, signals)
            finally:
                run.record.close()
            return run
        run.record = made = RunFolder.create(folder, run.text(), record, number=number)
        with made.locked():
            execute(run, signals)
    return run


def new_record(host: Host, run: Run, command: Sequence[str] = ()) -> dict[str, Any]:
    """The first content of run.json."""
    return {
        "status": "running",
        "reason": "",
        "seed": run.config.seed,
        "device": run.device,
        "engine": run.engine,
        "runtime": run.runtime,
        "monitor": run.monitor,
        "direction": run.direction,
        "directions": run.directions,
        "total_steps": run.total_steps,
        **made_with(host, run.components_chosen),
        "git": run.kept.get("git revision", Path.cwd(), _git_revision),
        "command": list(command) or ["oarlock", *sys.argv[1:]],
        "times": {"created": time.time()},
        "metrics": {},
        "best": None,
    }


def made_with(host: Host, chosen: dict[str, str]) -> dict[str, Any]:
    """Which component, of which version, is at each path; and the versions of what all of them stand on."""
    versions = {name: _version(name) for name in ("oarlock", "hydra-core", "omegaconf", "pluggy", "numpy")}
    versions |= {"python": platform.python_version(), "paddle": import_paddle().__version__}
    components = {}
    for path, component in chosen.items():
        plugin = host.registry.entries[component].plugin
        components[path] = {"component": component, "distribution": plugin.distribution, "version": plugin.version}
    return {"components": components, "versions": versions}


def current_versions(host: Host, record: RunFolder) -> tuple[dict[str, Any], list[str]]:
    """What the recorded components and libraries are today, and what of it is another version than recorded."""
    before = record.record
    now = made_with(host, {path: part["component"] for path, part in before["components"].items()})
    pairs = [(before["versions"].get(name), now["versions"][name], name) for name in ("oarlock", "paddle", "numpy")]
    for path, part in before["components"].items():
        current = now["components"][path]
        if part["distribution"] == current["distribution"]:
            pairs.append((part["version"], current["version"], part["distribution"]))
        else:
            pairs.append((part["distribution"], current["distribution"], f"the package of {path}"))
    changes = [f"{name} was {was} and is {is_now}" for was, is_now, name in pairs if was != is_now]
    return now, list(dict.fromkeys(changes))


def execute(run: Run, signals: Signals) -> None:
    """Train a built run to its end, and record how it ended.

    Raises:
        Interrupted: a signal came.
        RunFailed: anything else that was raised.
    """
    with _logged(run):
        try:
            _record(run, status="running", reason="", times={**_times(run), "started": time.time()})
            train_loop(run, signals)
            finish(run)
            run.hook.on_run_end(run=run)
            _record_end(run, run.status, run.stop_reason)
        except Interrupted as stop:
            run.status = "interrupted"
            _record_end(run, "interrupted", str(stop))
            try:
                run.hook.on_run_end(run=run)
            except Exception:
                log.exception("on_run_end raised")
            raise
        except (Exception, SystemExit) as error:  # a component that exits is one that fails
            reason = f"{type(error).__name__}: {one_line(error)}"
            where = f"epoch {run.epoch + 1}, step {run.step}"
            log.error("failed at %s: %s\n%s", where, reason, traceback.format_exc())
            run.status = "failed"
            with contextlib.suppress(OSError, UserError):  # a full disk must not hide the reason itself
                run.on_disk()
                _record_end(run, "failed", f"{where}: {reason}")
            try:
                run.hook.on_failure(run=run, error=error)
            except Exception:
                log.exception("on_failure raised")  # the first error is the one to report
            if isinstance(error, (RunFailed, UserError)):
                raise
            raise RunFailed(
                f"{reason} (at {where}){raised_at(error)}; traceback: {shown_path(run.record.wanted / LOG)}"  # type: ignore[union-attr]
            ) from error


def _record_end(run: Run, status: str, reason: str) -> None:
    times = {**_times(run), "ended": time.time()}
    _record(run, status=status, reason=reason, metrics=run.metrics, best=run.best, step=run.step, times=times)


def _record(run: Run, **values: Any) -> None:
    assert run.record is not None
    run.record.update(**values)


def _times(run: Run) -> dict[str, float]:
    assert run.record is not None
    return dict(run.record.record["times"])


def resume(
    folder: Path,
    overrides: Sequence[str] = (),
    say: Any = print,
    last: bool = False,
    allow_drift: bool = False,
    hooks: Sequence[object] = (),
    host: Host | None = None,
) -> Run | None:
    """Continue a run exactly where its newest intact checkpoint left it; None when there is nothing to do.

    Args:
        folder: the run's folder.
        overrides: what may change in it, such as `trainer.epochs=40`.
        say: takes the lines that a person should read.
        last: as for `train_config`.
        allow_drift: continue although other versions are installed than the run was made with.
        hooks: the caller's own hook implementations.
        host: the plugins, where they are loaded already.

    Raises:
        UserError: the folder is no run, an override would make another run of it, or versions have changed.
    """
    host = host or load_host()
    record = RunFolder(folder)
    for override in vetting.parse(overrides):
        if not any(override.key_or_group == key or override.key_or_group.startswith(key + ".") for key in RESUMABLE):
            raise UserError(
                f"{override.input_line}: a resumed run is the same run. {nearest(override.key_or_group, RESUMABLE)}\n"
                f"It accepts: {', '.join(RESUMABLE)}."
            )
    composed = load_recorded(host, record, overrides)
    now, changes = current_versions(host, record)
    if changes and not allow_drift:
        raise UserError(f"{shown_path(folder)}: since the run was made, {', '.join(changes)}.\n"
                        "It would not go on exactly; continue it all the same with --allow-drift.")  # fmt: skip
    import_paddle()  # before the signals are watched: it installs handlers of its own
    with Signals(last) as signals, record.locked():
        status = record.record["status"]
        if status in ("completed", "early_stopped", "pruned") and not overrides:
            say(f"{shown_path(folder)}: {status} already; to train longer give trainer.epochs=…")
            return None
        files, path = intact(folder)
        run = build_run(host, composed, record.record.get("runtime", {}), hooks)
        run.total_steps = record.record["total_steps"]  # a schedule keeps the shape that it began with
        complete_run(run)
        run.record = record
        root = folder / "checkpoints"
        if path is not None:
            run.restore(files, path.name)
            run.recorded_engine = record.record["engine"]
            if _longer(record, run):
                run.stop_reason, run.status = "", "running"
            run.history = record.truncate_metrics(_rows(files))
            say(f"resuming {shown_path(folder)} from step {run.step}")
        else:
            if run.config.trainer.init_from:
                warm_start(run, Path(run.config.trainer.init_from))
            record.truncate_metrics(0)
            say(f"resuming {shown_path(folder)} from the start: it has no checkpoint")
        if root.is_dir():
            with contextlib.suppress(OSError):  # a read-only disk is reported when the next checkpoint is due
                checkpoint.set_aside_damaged(root, path)
        record.update(engine=run.recorded_engine or run.engine, device=run.device, runtime=run.runtime, **now)
        if changes:
            record.update(drift=[*record.record.get("drift", []), {"step": run.step, "changes": changes}])
        if overrides:
            _keep_changes(run)
        execute(run, signals)
    return run


def _longer(record: RunFolder, run: Run) -> bool:
    """Whether the run was given another length than the one that it is recorded with."""
    before: Any = read_yaml(record.path / CONFIG)[0]
    trainer = run.config.trainer
    return (trainer.epochs, trainer.max_steps) != (before.trainer.epochs, before.trainer.max_steps)


def _keep_changes(run: Run) -> None:
    """Make the changes part of the run, so that the next resume needs not be told again."""
    folder = run.on_disk().path
    write_atomically(folder / CONFIG, run.text())
    trainer = run.config.trainer
    if run.step:
        checkpoint.write(folder / "checkpoints", run.step, run.checkpoint_files(), trainer.checkpoint.keep)


def _rows(files: dict[str, bytes]) -> int:
    return int(json.loads(files[checkpoint.STATE])["rows"])


class RunLog(logging.Handler):
    """Writes to train.log in the run's folder, as soon as it has one."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run, self._waiting = run, list[str]()
        self._file: TextIO | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(self.format(record) + "\n")
        self.flush()

    def flush(self) -> None:
        folder = self._run.record.path if self._run.record is not None else None
        if folder is None or not self._waiting:
            return
        try:
            if self._file is None:
                self._file = (folder / LOG).open("a", encoding="utf-8", buffering=1)
            self._file.write("".join(self._waiting))
        except OSError:  # the disk is full: the run itself will say so, or go on without its log
            return
        self._waiting.clear()

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        super().close()


@contextlib.contextmanager
def _logged(run: Run) -> Iterator[None]:
    """Write what oarlock and the components log to the run's train.log."""
    handler = RunLog(run)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
        handler.flush()
        handler.close()


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git_revision() -> str | None:
    """The revision of the working folder, where it is under git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
