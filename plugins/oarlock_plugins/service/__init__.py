"""A trained model in service: exported as a bundle, applied to files, served, updated."""

from __future__ import annotations

from oarlock import hookimpl
from oarlock_plugins.service.export import command as export
from oarlock_plugins.service.predict import command as predict
from oarlock_plugins.service.server import command as serve


@hookimpl
def register_commands(register):
    register("export", help="Make a bundle of a run: its model for a service, with all that it needs.",
             configure=export.configure, run=export.run)  # fmt: skip
    register("predict", help="Answer the rows of files with a bundle, and go on where it was stopped.",
             configure=predict.configure, run=predict.run)  # fmt: skip
    register("serve", help="Serve the models of a folder over HTTP.", configure=serve.configure, run=serve.run)
