"""A trained model in service: exported as a bundle, applied to files, served, updated."""

from __future__ import annotations

from oarlock import hookimpl
from oarlock_plugins.service.export import command as export


@hookimpl
def register_commands(register):
    register("export", help="Make a bundle of a run: its model for a service, with all that it needs.",
             configure=export.configure, run=export.run)  # fmt: skip
