"""A version of a model, from its folder to an engine that gives the answers it should; beside whatever serves now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarlock import Damaged, OarlockError
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import Bundle, TensorSpec, open_bundle
from oarlock_plugins.service.engines import Engine, check_reference, open_engine
from oarlock_plugins.service.server.settings import Settings

# Which files, how long, and when they were last changed.
Fingerprint = tuple[tuple[str, int, int], ...]
# Seconds until a version is tried again whose files may not be to blame; twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0


@dataclass(frozen=True)
class Loaded:
    """A version that may be served."""

    number: int
    bundle: Bundle
    engines: list[Engine]
    seconds: float


class OtherSignature(Damaged):
    """A version whose inputs or outputs are not those of the version `older`."""

    def __init__(self, text: str, older: int) -> None:
        super().__init__(text)
        self.older = older


@dataclass(frozen=True)
class BadVersion:
    """A version that may not, and why; looked at again when what it was judged by is another.

    Attributes:
        error: why.
        older: the version that it was compared with; 0 where its own files were enough.
        prints: of all that it was judged by.
        pause: seconds until it is tried again although nothing has changed.
        tried: when it was tried, by the monotonic clock.
    """

    error: str
    older: int
    prints: Mapping[int, Fingerprint]
    pause: float
    tried: float = field(default_factory=time.monotonic)

    @property
    def waits(self) -> bool:
        return time.monotonic() < self.tried + self.pause


def judged(error: Exception, number: int, prints: Mapping[int, Fingerprint], before: BadVersion | None) -> BadVersion:
    """What to remember of a version that could not be loaded.

    Args:
        error: what was raised.
        number: the version.
        prints: of it and of those before it, made before it was loaded.
        before: what was remembered of it, if nothing has changed since.
    """
    text = " ".join(str(error).split())[:1000] or type(error).__name__
    older = error.older if isinstance(error, OtherSignature) else 0
    # Anything else may have been a moment's lack of memory, threads or open files.
    lasting = isinstance(error, Damaged) and not isinstance(error.__cause__, OSError)
    pause = math.inf if lasting else min(2 * before.pause, LONGEST_PAUSE) if before else FIRST_PAUSE
    return BadVersion(text, older, {one: prints[one] for one in judged_by(number, older, prints)}, pause)


def judged_by(number: int, older: int, candidates: Iterable[int]) -> list[int]:
    """The versions that a judgement hangs on: which of them is the oldest intact one is a part of it."""
    return [one for one in candidates if one == number or one <= older]


def load(model: Path, number: int, settings: Settings) -> Loaded:
    """Verify a version's files, build its engines, and have them compute the reference inputs.

    Raises:
        Exception: it may not be served; engines raise what they like.
    """
    started = time.monotonic()
    bundle = open_bundle(model / str(number))
    if not settings.any_signature:
        check_signature(model, number, bundle)
    engines = []
    for _ in range(settings.instances):
        engine = open_engine(bundle, settings.engine, settings.threads, settings.device)
        if not check_reference(bundle, engine):
            raise Damaged(f"{number}: it has no reference outputs to check it by")
        engines.append(engine)
    return Loaded(number, bundle, engines, time.monotonic() - started)


def fingerprints(model: Path, numbers: Iterable[int]) -> dict[int, Fingerprint]:
    """What tells whether versions were changed, without reading their files."""
    return {number: _fingerprint(model / str(number)) for number in numbers}


def _fingerprint(folder: Path) -> Fingerprint:
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            known = path.lstat()
        except OSError:  # removed meanwhile
            continue
        found.append((path.relative_to(folder).as_posix(), known.st_size, known.st_mtime_ns))
    return tuple(found)


def check_signature(model: Path, number: int, bundle: Bundle) -> None:
    """Clients know a model by its inputs and outputs: they are those of its oldest intact version.

    The oldest one, so that it does not matter which version a server happened to start with.

    Raises:
        OtherSignature: those of this version are others.
    """
    for older in sorted(models.candidates(model)):
        if older >= number:
            return
        try:
            known = open_bundle(model / str(older))
        except (OarlockError, OSError):  # it is not intact
            continue
        for what, ours, theirs in (("inputs", bundle.inputs, known.inputs), ("outputs", bundle.outputs, known.outputs)):
            if ours != theirs:
                raise OtherSignature(f"{number}: its {what} are {_shown(ours)}, those of version {older} are "
                                     f"{_shown(theirs)}. Publish it under another name, or serve with --any-signature",
                                     older)  # fmt: skip
        return


def _shown(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{one.name} {one.datatype} {['rows', *one.shape]}".replace("'", "") for one in specs)
