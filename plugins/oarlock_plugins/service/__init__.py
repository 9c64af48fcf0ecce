"""A trained model in service: exported as a bundle, applied to files, served, updated."""

from __future__ import annotations

from oarlock import hookimpl


@hookimpl
def register_commands(register):
    from oarlock_plugins.service.server import command as serve

    register("serve", help="Serve the models of a folder over HTTP.", configure=serve.configure, run=serve.run)
