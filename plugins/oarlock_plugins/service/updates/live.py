"""Which version of a model is live, and whether one can be."""

from __future__ import annotations

from pathlib import Path

from oarlock import Damaged, UserError, shown_path, warn
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import Bundle, open_bundle
from oarlock_plugins.service.engines import check_reference, open_engine


def checked(model: Path, version: int) -> Bundle:
    """A version that a server would serve: whole, and giving the answers that its export wrote down.

    Raises:
        Damaged: it is not.
        UserError: it is no bundle, or onnxruntime is not installed.
    """
    bundle = open_bundle(model / str(version))
    check_reference(bundle, open_engine(bundle))
    return bundle


def live(model: Path) -> tuple[int, Bundle]:
    """The version that a server serves, and its bundle.

    Raises:
        UserError: there is none.
    """
    for version in models.candidates(model):
        try:
            return version, checked(model, version)
        except Damaged as error:
            warn(f"{shown_path(model)} {error}; a server does not serve it, and neither is it updated")
    raise UserError(f"{model.name}: it has no version that can be served.\n"
                    f"Publish one with: oarlock export RUN --models {shown_path(model.parent)} --name {model.name}")  # fmt: skip
