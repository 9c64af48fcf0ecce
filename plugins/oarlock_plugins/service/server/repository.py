"""The models of the folder: which version serves, which are bad; new ones are loaded beside the old and swapped in."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from oarlock import UserError, nearest
from oarlock_plugins.service import models
from oarlock_plugins.service.server.batching import Batcher
from oarlock_plugins.service.server.loading import (
    Loaded,
    OtherSignature,
    check_signature,
    fingerprints,
    judged,
    judged_by,
    load,
)
from oarlock_plugins.service.server.logs import Log, where
from oarlock_plugins.service.server.metrics import Metrics, ModelMetrics
from oarlock_plugins.service.server.model import Live, Model
from oarlock_plugins.service.server.refusals import Refused, overloaded
from oarlock_plugins.service.server.settings import Settings

_DRAIN_SECONDS = 60.0


class Repository:
    """Watches the folder from `start` to `stop`."""

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self._settings, self._metrics, self._log = settings, metrics, log
        self._loader = ThreadPoolExecutor(1, "oarlock-loader")
        self._tasks: list[asyncio.Task[None]] = []
        self._draining: set[asyncio.Task[None]] = set()
        self._problem = ""
        self.models: dict[str, Model] = {}
        self.looked = False

    @property
    def ready(self) -> bool:
        """Whether the folder was looked at and a model can be asked."""
        return self.looked and any(model.live for model in self.models.values())

    def find(self, name: str, version: str | None = None) -> tuple[Model, Live]:
        """A model, and the version of it that answers now.

        Raises:
            Refused: there is no such model, or it has no version that can be served, or not this one.
        """
        model = self.models.get(name)
        if model is None:
            hint = nearest(name[:100], self.models) if self.looked else "The models are still being loaded."
            raise Refused(404 if self.looked else 503, f"there is no model '{name[:100]}'. {hint}", "unknown_model")
        if model.live is None:
            raise overloaded(f"no version of '{name}' can be served now", "no_version")
        if version is not None and version != model.live.version:
            raise Refused(404, f"version {version[:20]} of '{name}' is not served; version {model.live.version} is",
                          "unknown_version")  # fmt: skip
        return model, model.live

    async def start(self) -> None:
        """Begin to watch; returns at once."""
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._expire())]

    async def stop(self) -> None:
        """Stop watching and let every batch end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for model in self.models.values():
            self._retire(model)
        if self._draining:
            await asyncio.wait(self._draining, timeout=_DRAIN_SECONDS)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # whatever a file system can do; the models in memory go on
                self._complain(where(error))
            self.looked = True
            await asyncio.sleep(self._settings.poll_seconds)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            now = time.monotonic()
            for model in self.models.values():
                if model.live:
                    model.live.batcher.expire(now)

    async def look(self) -> None:
        """Bring what is served in line with what is in the folder."""
        folder = self._settings.models
        try:
            names = await self._off_loop(models.names, folder)
        except UserError as error:
            self._complain(str(error))
            return
        self._problem = ""
        for name in names:
            if name not in self.models:
                self.models[name] = Model(name, ModelMetrics(self._metrics, name))
            try:
                await self._look_at(self.models[name], folder / name)
            except (UserError, OSError) as error:
                self._log("error", "model_unreadable", model=name, error=str(error))
        for name in self.models.keys() - set(names):
            self._retire(self.models.pop(name))
            self._metrics.forget(name)
            self._log("warning", "model_removed", model=name)

    async def _look_at(self, model: Model, folder: Path) -> None:
        """Serve the newest version that can be served."""
        model.versions, withdrawn, candidates = await self._off_loop(_state_of, folder)
        model.withdrawn = withdrawn
        model.bad = {number: bad for number, bad in model.bad.items() if number in candidates}
        for number in candidates:
            if model.live and number == model.live.number and await self._stays(model.live, folder, candidates):
                break
            loaded = await self._try(model, folder, number, candidates)
            if loaded is not None:
                self._swap(model, loaded, candidates)
                break
        else:
            if model.live:
                self._log("error", "no_version", model=model.name, last=model.live.number)
            self._retire(model)
        self._metrics.version.labels(model.name).set(model.live.number if model.live else 0)
        self._metrics.bad.labels(model.name).set(len(model.bad))

    async def _try(self, model: Model, folder: Path, number: int, candidates: list[int]) -> Loaded | None:
        """Load a version, unless it was bad and what it was judged by is the same still."""
        known = model.bad.get(number)
        if known is not None:
            now = await self._off_loop(fingerprints, folder, judged_by(number, known.older, candidates))
            if known.prints != now:
                known = None
            elif known.waits:
                return None
        prints = await self._off_loop(fingerprints, folder, [one for one in candidates if one <= number])
        try:
            loaded = await self._off_loop(load, folder, number, self._settings)
        except Exception as error:  # whatever an engine raises; the one that serves goes on
            bad = model.bad[number] = judged(error, number, prints, known)
            if known is None or known.error != bad.error:
                self._metrics.refusals.labels(model.name).inc()
                self._log("error", "version_refused", model=model.name, version=number, error=bad.error,
                          serving=model.live.number if model.live else None)  # fmt: skip
            return None
        model.bad.pop(number, None)
        return loaded

    async def _stays(self, live: Live, folder: Path, candidates: list[int]) -> bool:
        """Whether the version that serves has the right signature still; an older one may have been restored."""
        older = _before(live.number, candidates)
        if older != live.older and not self._settings.any_signature:
            try:
                await self._off_loop(check_signature, folder, live.number, live.bundle)
            except OtherSignature:
                return False
        live.older = older
        return True

    def _swap(self, model: Model, loaded: Loaded, candidates: list[int]) -> None:
        """From this line on requests go to the new version; the old one computes what it has accepted."""
        names = [spec.name for spec in loaded.bundle.inputs]
        old, batcher = model.live, Batcher(loaded.engines, names, self._settings, model.metrics.on_batch)
        model.live = Live(loaded.number, loaded.bundle, batcher, _before(loaded.number, candidates))
        self._metrics.swaps.labels(model.name).inc()
        self._log("info", "version_live", model=model.name, version=loaded.number,
                  before=old.number if old else None, load_seconds=round(loaded.seconds, 3))  # fmt: skip
        if old is not None:
            self._drain(old)

    def _retire(self, model: Model) -> None:
        if model.live is not None:
            old, model.live = model.live, None
            self._drain(old)

    def _drain(self, old: Live) -> None:
        old.batcher.close()
        task = asyncio.create_task(asyncio.to_thread(old.batcher.join, _DRAIN_SECONDS))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _off_loop(self, function: Callable[..., Any], *arguments: object):
        return await asyncio.get_running_loop().run_in_executor(self._loader, function, *arguments)

    def _complain(self, problem: str) -> None:
        """Once, and not at every look."""
        if problem != self._problem:
            self._problem = problem
            self._log("error", "folder_unreadable", error=problem)


def _before(number: int, candidates: list[int]) -> list[int]:
    return [one for one in candidates if one < number]


def _state_of(folder: Path) -> tuple[list[int], dict[int, str], list[int]]:
    gone = {number: str(entry.get("reason", "")) for number, entry in models.withdrawn(folder).items()}
    with contextlib.suppress(OSError):  # it may be removed at any moment
        found = models.versions(folder)
        return found, gone, [number for number in reversed(found) if number not in gone]
    return [], gone, []
