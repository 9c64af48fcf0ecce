"""A component under test, and what the checks do with it: compose, build, train, stop, resume."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from enum import Enum
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig, open_dict

from oarlock import commands, config, new_run
from oarlock.execution import execute
from oarlock.experiment import build_run, complete_run
from oarlock.loader import Loader
from oarlock.plugins import Host, load_host
from oarlock.provenance import new_record
from oarlock.record import RunFolder
from oarlock.registry import Entry
from oarlock.run import Run
from oarlock.training import Interrupted

# Small enough for a second, with an evaluation in the middle of an epoch and at least two epochs.
SMALL = (
    "model.widths=[8]", "callback=[]", "trainer.epochs=2", "trainer.batch_size=64", "trainer.evaluate_every=5 steps",
    "device=cpu", "trainer.checkpoint.keep=100",
)  # fmt: skip


class Nonconforming(AssertionError):
    """A component does not do what oarlock expects; the message says what to change."""


class Subject:
    """A component, by its path `group/name`, with what it needs beside it.

    Attributes:
        path, group, name: the component.
        overrides: what its author gave.
        scratch: an empty folder for the runs of one check.

    Raises:
        Nonconforming: it is not registered; the message says why.
    """

    def __init__(self, path: str, overrides: Sequence[str], scratch: Path) -> None:
        self.path, self.overrides, self.scratch = path, tuple(overrides), scratch
        self._own = scratch
        self.group, _, self.name = path.partition("/")
        self.host: Host = load_host()
        self.host.registry.refuse_unconfigurable()
        if path not in self.host.registry.entries:
            raise Nonconforming(f"{path} cannot be chosen. {self.host.explain_missing(self.group, self.name)}")
        self.entry: Entry = self.host.registry.entries[path]
        self.many = self.host.registry.groups[self.group].many
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    @property
    def place(self) -> str:
        """Where it stands in a configuration: `optimizer`, `callback.ema`."""
        return f"{self.group}.{self.name}" if self.many else self.group

    def override_list(self, *more: str) -> list[str]:
        """The override list of a small run with the component; later ones win."""
        chosen = f"{self.group}=[{self.name}]" if self.many else f"{self.group}={self.name}"
        words = [*SMALL, chosen, *self.overrides, *more]
        if any(word.startswith("model=") for word in words):
            words.remove("model.widths=[8]")
        last = {word.partition("=")[0]: word for word in words}
        return list(last.values())

    def compose(self, *more: str) -> DictConfig:
        """The checked configuration."""
        words = tuple(self.override_list(*more))
        if words not in self._composed:
            quick = bool(more) and all(map(self._is_quick, more))
            self._composed[words] = (self._loader.vary(self.compose(), more) if quick
                                     else config.compose(self.host, words, None).config)  # fmt: skip
        return self._composed[words].copy()

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self.host)

    def _is_quick(self, word: str) -> bool:
        """Whether an override can be set on what is composed already, which takes a tenth of the time."""
        key = word.partition("=")[0]
        if not re.fullmatch(r"[\w.]+", key):
            return False
        group = self.host.registry.groups.get(key)
        return group is None or not (group.many or any(one.startswith(f"{key}.") for one in self.override_list()))

    def build(self, *more: str) -> Run:
        """A run that is ready to train, with the component in it."""
        run = build_run(self.host, self.compose(*more))
        complete_run(run)
        return run

    def beside_the_built_ins(self, *more: str) -> Iterator[tuple[str, Callable[[], DictConfig]]]:
        """With each built-in of the other groups: what one would type, and what composes it."""
        for group in self.host.registry.groups.values():
            names = [entry.name for entry in self.host.registry.entries.values()
                     if entry.group == group.name and entry.plugin.distribution == "oarlock"]  # fmt: skip
            if group.name == self.group or any(given.startswith(f"{group.name}=") for given in self.overrides):
                continue
            for name in names:
                if group.many:
                    yield f"{group.name}=[{name}]", partial(self._one_of, group.name, names, name, more)
                else:
                    yield f"{group.name}={name}", partial(self.compose, f"{group.name}={name}", *more)

    def _one_of(self, group: str, names: Sequence[str], name: str, more: Sequence[str]) -> DictConfig:
        """With one option of a list group; composed with all of them once, since to compose takes most of the time."""
        composed = self.compose(f"{group}=[{','.join(names)}]", *more)
        with open_dict(composed):
            for other in names:
                if other != name:
                    del composed[group][other]
        return composed

    def component(self, run: Run) -> Any:
        """The component's instance in a run."""
        return run.components[self.place]

    @cached_property
    def whole(self) -> Path:
        """The folder of a run that was trained to its end; made once, for all checks of this subject."""
        return self._train(self._own / "whole", self.compose())

    def train(self, name: str, *more: str, stop_at: int | None = None) -> Path:
        """Train to the end, or up to a step as a signal would; returns the run's folder."""
        folder = self.scratch / name
        if stop_at is not None:
            self.stopped_run(name, stop_at, *more)
            return folder
        return self._train(folder, self.compose(*more))

    def train_without(self, name: str) -> Path:
        """Train a run like this one that has no option of the component's list group; returns its folder."""
        words = self.override_list(f"{self.group}=[]")
        others = [word for word in words if not word.lstrip("+~").startswith(f"{self.group}.")]
        return self._train(self.scratch / name, config.compose(self.host, others, None).config)

    def _train(self, folder: Path, composed: DictConfig) -> Path:
        with quiet():
            new_run.train_config(self.host, composed, folder, number=False)
        return folder

    def stopped_run(self, name: str, step: int, *more: str) -> Run:
        """A run that was stopped after a step, as a signal would, and has made its checkpoint."""
        run = self.build(*more)
        run.record = RunFolder.create(self.scratch / name, run.text(), new_record(self.host, run), number=False)
        with quiet(), run.record.locked(), suppress(Interrupted):
            execute(run, _StopAt(run, step))  # type: ignore[arg-type]
        return run

    def resume(self, folder: Path) -> None:
        """Continue a run to its end."""
        with quiet():
            commands.resume(folder)

    def train_in_new_process(self, name: str) -> Path:
        """The same as `train`, in a process that has nothing but the override list.

        Raises:
            Nonconforming: the process failed.
        """
        folder = self.scratch / name
        words = [*self.override_list(), f"hydra.run.dir={folder}"]
        done = in_new_process(f"import oarlock\noarlock.train({json.dumps(words)})\noarlock.leave(0)")
        if done.returncode != 0:
            raise Nonconforming(f"{self.path} does not train in a new process:\n{done.stderr[-800:]}")
        return folder


class _StopAt:
    """In the place of Signals: a signal that comes in a certain step."""

    def __init__(self, run: Run, step: int) -> None:
        self._run, self._step = run, step

    @property
    def received(self) -> signal.Signals | None:
        return signal.SIGTERM if self._run.step >= self._step else None


def in_new_process(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that finds the same modules."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what a run prints out of the test's report."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((folder / "checkpoints").glob("step-*"))


def history(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run without their clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def override_text(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value):
        return override_text(plain_default(value))
    if isinstance(value, (str, PurePath)):
        # Hydra reads backslashes as they are, but for those before a quote.
        escaped = re.sub(r"(\\+)(?='|\Z)", r"\1\1", str(value)).replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(override_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{override_text(item)}" for key, item in value.items()) + "}"
    return repr(value)


def plain_default(value: Any) -> Any:
    """A default as a configuration holds it: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain_default(item) for key, item in value.items()}
    return [plain_default(item) for item in value] if isinstance(value, (list, tuple)) else value


def defaults_of(cls: type) -> dict[str, Any]:
    """The fields of a component that have a plain default."""
    found = {}
    for field in dataclasses.fields(cls):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is not dataclasses.MISSING and not dataclasses.is_dataclass(value) and value != "???":
            found[field.name] = value
    return found
