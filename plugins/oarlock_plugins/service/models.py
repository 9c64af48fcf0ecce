"""The folder of models that a server watches: MODELS_DIR/NAME/VERSION, each version a bundle.

The live version is the highest that was not withdrawn. A version appears by one rename and is never changed; what is
withdrawn stays where it is, and can be restored.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oarlock import UserError, nearest, scratch_folder, seal, shown_path, write_atomically

WITHDRAWN, RUN = "withdrawn.json", "run.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def names(models: Path) -> list[str]:
    """The models of a folder, whether or not they have a version.

    Raises:
        UserError: there is no such folder.
    """
    try:
        return sorted(path.name for path in models.iterdir() if NAME.fullmatch(path.name) and path.is_dir())
    except OSError as error:
        raise UserError(f"{shown_path(models)}: not a folder of models: {error.strerror}.") from error


def refuse_part(models: Path, typed: str) -> None:
    """A model's folder, or a bundle, where the folder of all models is meant, looks like one that has no model yet.

    Args:
        models: the folder.
        typed: what stands before it, `serve: `.

    Raises:
        UserError: it is one; it names the folder of models.
    """
    from oarlock_plugins.service.bundle import BUNDLE

    shown, folder = shown_path(models), models.resolve()
    if (models / BUNDLE).is_file():
        raise UserError(f"{typed}{shown} is a bundle itself; expected a folder MODELS_DIR/NAME/VERSION.\n"
                        f"Its place would be MODELS_DIR/{folder.name}/1.")  # fmt: skip
    versions = sorted(path.parent.name for path in models.glob(f"*/{BUNDLE}") if NAME.fullmatch(path.parent.name))
    if versions:
        raise UserError(f"{typed}{shown} is the folder of one model, its versions are {', '.join(versions[:5])}.\n"
                        f"Name the folder that it is in: {shown_path(folder.parent)}")  # fmt: skip


def refuse_runs(models: Path, typed: str) -> None:
    """A run, or a folder of runs, where the folder of models is meant would be served as one that has no model yet.

    Args:
        models: the folder.
        typed: what stands before it, `serve: `.

    Raises:
        UserError: it is one; it names what makes a model of a run.
    """
    from oarlock_plugins.service.bundle import BUNDLE

    runs = [path.parent for path in (models / RUN, *sorted(models.glob(f"*/{RUN}"))) if path.is_file()]
    if runs and not any(models.glob(f"*/*/{BUNDLE}")):
        raise UserError(f"{typed}{shown_path(runs[0])} is a run; expected a folder of models, MODELS_DIR/NAME/VERSION.\n"
                        f"Make a model of it with: oarlock export {shlex.quote(shown_path(runs[0]))} --models MODELS_DIR")  # fmt: skip


def find(models: Path, name: str) -> Path:
    """The folder of a model.

    Raises:
        UserError: there is none of this name.
    """
    refuse_part(models, "--models ")
    known = names(models)
    if name not in known:
        raise UserError(f"{name}: {shown_path(models)} has no such model. {nearest(name, known)}")
    return models / name


def versions(model: Path) -> list[int]:
    """The versions of a model, the oldest first, withdrawn ones included."""
    found = model.iterdir() if model.is_dir() else ()
    return sorted(int(path.name) for path in found if re.fullmatch(r"[1-9]\d{0,17}", path.name) and path.is_dir())


def withdrawn(model: Path) -> dict[int, dict[str, Any]]:
    """Which versions shall not be served, each with `reason` and `time`.

    Raises:
        UserError: the record of them cannot be read.
    """
    try:
        record = json.loads((model / WITHDRAWN).read_text(encoding="utf-8"))
        return {int(version): dict(entry) for version, entry in record.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{shown_path(model / WITHDRAWN)} cannot be read: {error}") from error


def candidates(model: Path) -> list[int]:
    """The versions that may be served, the one to prefer first."""
    gone = withdrawn(model)
    return [version for version in reversed(versions(model)) if version not in gone]


def withdraw(model: Path, version: int, reason: str) -> None:
    """Have a version no longer served.

    Raises:
        UserError: the folder cannot be written.
    """
    _record(model, {**withdrawn(model), version: {"reason": reason, "time": round(time.time(), 3)}})


def restore(model: Path, version: int) -> None:
    """Let a withdrawn version be served again.

    Raises:
        UserError: the folder cannot be written.
    """
    _record(model, {one: entry for one, entry in withdrawn(model).items() if one != version})


def publish(models: Path, name: str, fill: Callable[[Path], Any]) -> tuple[Path, int]:
    """Make the next version of a model; it appears whole, or not at all.

    Args:
        models: the folder of models.
        name: the model.
        fill: writes a bundle's files into the scratch folder that it is given.

    Raises:
        UserError: the name is not one, or the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name}: expected a model's name of letters, digits, '.', '_' and '-'.")
    model = models / name
    try:
        with scratch_folder(model) as scratch:
            fill(scratch)
            while True:
                # The number of a withdrawn version stays taken when its folder is removed.
                version = max([*versions(model), *withdrawn(model)], default=0) + 1
                try:
                    seal(scratch, model / str(version))
                except OSError:
                    if not (model / str(version)).exists():
                        raise
                    continue  # another process took this number
                return model / str(version), version
    except BaseException:
        with contextlib.suppress(OSError):  # there is another version, or somebody else makes one
            model.rmdir()
        raise


def _record(model: Path, gone: dict[int, dict[str, Any]]) -> None:
    text = json.dumps({str(version): entry for version, entry in sorted(gone.items())}, indent=2)
    try:
        write_atomically(model / WITHDRAWN, f"{text}\n")
    except OSError as error:
        raise UserError(f"{shown_path(model / WITHDRAWN)} cannot be written: {error.strerror}.") from error
