"""`oarlock rollback`: the version before is live again."""

from __future__ import annotations

from pathlib import Path

from oarlock import Damaged, Exit, UserError, nearest, shown_path
from oarlock_plugins.service import models


def configure(parser):
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument("--models", type=Path, required=True, metavar="MODELS_DIR", help="the folder of models")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--to", type=int, metavar="VERSION", help="this version is live afterwards (default: the one "
                       "before the live one)")  # fmt: skip
    which.add_argument("--restore", type=int, metavar="VERSION", help="let a withdrawn version be served again")
    parser.add_argument(
        "--any-signature", action="store_true", help="take for live what a server with --any-signature does"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; it is kept with the withdrawn version")


def run(args):
    from oarlock_plugins.service.updates.locks import held_versions

    model = models.find(args.models, args.name)
    with held_versions(model):
        if args.restore is not None:
            restore(model, args.restore, args.any_signature)
        else:
            withdraw(model, args.to, args.reason, args.any_signature)
    return Exit.DONE


def withdraw(model, target, reason, any_signature=False):
    """Withdraw what is above `target`, by default the version before the live one, if that can be served.

    Raises:
        UserError: it cannot, or there is nothing to go back to.
    """
    from oarlock_plugins.service.updates.live import live

    candidates = models.candidates(model)
    if not candidates:
        raise UserError(f"{model.name}: no version of it is live.\n{_restorable(model)}".rstrip())
    now, _ = live(model, any_signature)
    if target is None:
        target = next((one for one in candidates if one < now), None)
        if target is None:
            raise UserError(f"{model.name}: version {now} is live, and there is none before it to go back to."
                            f"\n{_restorable(model)}".rstrip())  # fmt: skip
    _known(model, target, "--to")
    if target not in candidates:
        raise UserError(f"--to {target}: version {target} of {model.name} is withdrawn.\n"
                        f"Restore it first: {_command(model)} --restore {target}")  # fmt: skip
    if target == now:
        raise UserError(f"--to {target}: version {target} of {model.name} is live already.")
    _must_serve(model, target, any_signature)
    # From below, so that the live version changes once, with the last of them.
    for version in sorted(one for one in candidates if one > target):
        models.withdraw(model, version, reason or f"rolled back to {target}")
        print(f"withdrawn: {model.name} version {version}")
    print(f"live: {model.name} version {target}")


def restore(model, version, any_signature=False):
    """Let a withdrawn version be served again, if it can be.

    Raises:
        UserError: it cannot, or is not withdrawn.
    """
    from oarlock_plugins.service.updates.live import live

    _known(model, version, "--restore")
    gone = models.withdrawn(model)
    if version not in gone:
        raise UserError(f"--restore {version}: it is not withdrawn. "
                        f"{nearest(str(version), map(str, gone)) if gone else 'No version is.'}")  # fmt: skip
    _must_serve(model, version, any_signature)
    models.restore(model, version)
    print(f"restored: {model.name} version {version}")
    print(f"live: {model.name} version {live(model, any_signature)[0]}")


def _must_serve(model, version, any_signature):
    from oarlock_plugins.service.updates.live import checked

    try:
        checked(model, version, any_signature)
    except Damaged as error:
        raise UserError(f"{model.name} version {version} cannot be served: {error}.\n"
                        "Nothing was changed; name another version.") from error  # fmt: skip


def _known(model, version, option):
    known = models.versions(model)
    if version not in known:
        raise UserError(
            f"{option} {version}: {model.name} has no such version. {nearest(str(version), map(str, known))}"
        )


def _command(model):
    return f"oarlock rollback {model.name} --models {shown_path(model.parent)}"


def _restorable(model):
    gone = models.withdrawn(model)
    return (
        f"Withdrawn: {', '.join(map(str, gone))}; {_command(model)} --restore VERSION brings one back." if gone else ""
    )
