"""Which version of a model is live, and whether one can be."""

from __future__ import annotations

from pathlib import Path

from oarlock import Damaged, UserError, shown_path, warn
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import Bundle
from oarlock_plugins.service.server.loading import load
from oarlock_plugins.service.server.settings import Settings


def checked(model: Path, version: int, any_signature: bool = False) -> Bundle:
    """A version that a server would serve: it is loaded as a server loads it.

    Args:
        model: the folder of the model.
        version: its number.
        any_signature: whether the server lets a version have other inputs or outputs.

    Raises:
        Damaged: it would not.
        UserError: onnxruntime is not installed.
    """
    try:
        return load(model, version, Settings(model.parent, any_signature=any_signature)).bundle
    except Damaged:
        raise
    except Exception as error:  # whatever an engine raises
        if isinstance(error.__cause__, ImportError):  # which says nothing about the version
            raise
        line = (str(error) or type(error).__name__).split("\n")[0].removeprefix(f"{shown_path(model / str(version))}: ")
        raise Damaged(f"{version}: {line.rstrip('.')}") from error


def live(model: Path, any_signature: bool = False) -> tuple[int, Bundle]:
    """The version that a server serves, and its bundle.

    Raises:
        UserError: there is none.
    """
    for version in models.candidates(model):
        try:
            return version, checked(model, version, any_signature)
        except Damaged as error:
            warn(f"{shown_path(model)} {error}; a server does not serve it")
    raise UserError(f"{model.name}: it has no version that can be served.\n"
                    f"Publish one with: oarlock export RUN --models {shown_path(model.parent)} --name {model.name}")  # fmt: skip
