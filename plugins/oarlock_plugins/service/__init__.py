"""A trained model in service: exported as a bundle, applied to files, served, updated."""

from __future__ import annotations

from oarlock import hookimpl
from oarlock_plugins.service.export import command as export
from oarlock_plugins.service.predict import command as predict
from oarlock_plugins.service.server import command as serve
from oarlock_plugins.service.updates import command as update
from oarlock_plugins.service.updates import listing, rollback
from oarlock_plugins.service.updates.data import UpdateData


@hookimpl
def register_commands(register):
    register("export", help="Make a bundle of a run: its model for a service, with all that it needs.",
             configure=export.configure, run=export.run)  # fmt: skip
    register("predict", help="Answer the rows of files with a bundle, and go on where it was stopped.",
             configure=predict.configure, run=predict.run)  # fmt: skip
    register("serve", help="Serve the models of a folder over HTTP.", configure=serve.configure, run=serve.run)
    register("models", help="List the versions in a folder of models: which is live, what was withdrawn and why.",
             configure=listing.configure, run=listing.run)  # fmt: skip
    register("update", help="Go on learning from new rows, and publish the next version if it is not worse.",
             configure=update.configure, run=update.run)  # fmt: skip
    register("rollback", help="Withdraw the live version of a model, so that the one before is served again.",
             configure=rollback.configure, run=rollback.run)  # fmt: skip


@hookimpl
def register_components(register):
    register("data/update", UpdateData)
