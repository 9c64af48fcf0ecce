"""A version of a model, from its folder to an engine that gives the answers it should; beside whatever serves now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from oarlock import Damaged
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import Bundle, TensorSpec, open_bundle
from oarlock_plugins.service.engines import Engine, check_reference, open_engine
from oarlock_plugins.service.server.settings import Settings

# Which files, how long, and when they were last changed.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Loaded:
    """A version that may be served."""

    number: int
    bundle: Bundle
    engines: list[Engine]
    seconds: float


@dataclass(frozen=True)
class BadVersion:
    """A version that may not, and why; looked at again when its files are others."""

    error: str
    fingerprint: Fingerprint
    since: float = field(default_factory=time.time)


def load(model: Path, number: int, settings: Settings) -> Loaded:
    """Verify a version's files, build its engines, and have them compute the reference inputs.

    Raises:
        Exception: it may not be served; engines raise what they like.
    """
    started = time.monotonic()
    bundle = open_bundle(model / str(number))
    if not settings.any_signature:
        _check_signature(model, number, bundle)
    engines = []
    for _ in range(settings.instances):
        engine = open_engine(bundle, settings.engine, settings.threads, settings.device)
        if not check_reference(bundle, engine):
            raise Damaged(f"{number}: it has no reference outputs to check it by")
        engines.append(engine)
    return Loaded(number, bundle, engines, time.monotonic() - started)


def fingerprint(folder: Path) -> Fingerprint:
    """What tells whether a folder was changed, without reading its files."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            known = path.lstat()
        except OSError:  # removed meanwhile
            continue
        found.append((path.relative_to(folder).as_posix(), known.st_size, known.st_mtime_ns))
    return tuple(found)


def _check_signature(model: Path, number: int, bundle: Bundle) -> None:
    """Clients know a model by its inputs and outputs: they are those of its oldest intact version.

    The oldest one, so that it does not matter which version a server happened to start with.
    """
    for older in sorted(models.candidates(model)):
        if older >= number:
            return
        try:
            known = open_bundle(model / str(older))
        except Exception:  # noqa: S112 - a bad version sets no rule; it is reported where it is loaded
            continue
        for what, ours, theirs in (("inputs", bundle.inputs, known.inputs), ("outputs", bundle.outputs, known.outputs)):
            if ours != theirs:
                raise Damaged(f"{number}: its {what} are {_shown(ours)}, those of version {older} are {_shown(theirs)}. "
                              "Publish it under another name, withdraw the older versions, or serve with "
                              "--any-signature")  # fmt: skip
        return


def _shown(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{one.name} {one.datatype} {['rows', *one.shape]}".replace("'", "") for one in specs)
