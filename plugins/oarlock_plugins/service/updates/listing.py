"""`oarlock models`: what is in a folder of models, and what of it is live."""

from __future__ import annotations

import json
import time
from pathlib import Path

from oarlock import Damaged, Exit, UserError
from oarlock_plugins.service import models


def configure(parser):
    parser.add_argument("models", type=Path, metavar="MODELS_DIR", help="the folder of models")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--any-signature", action="store_true", help="take for live what a server with --any-signature does"
    )


def run(args):
    models.refuse_part(args.models, "models: ")
    found = {name: entries(args.models / name, args.any_signature) for name in models.names(args.models)}
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        lines = [line(name, entry) for name, listed in found.items() for entry in listed]
        wide = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))] if lines else []
        for row in lines:
            print("  ".join(text.ljust(width) for text, width in zip(row, wide, strict=True)).rstrip())
        if not lines:
            print(f"{args.models}: it has no model")
    return Exit.DONE


def entries(model, any_signature=False):
    """The versions of a model, the newest first; the files of each are verified, and what is called live can be served."""
    from oarlock_plugins.service.bundle import open_bundle
    from oarlock_plugins.service.updates.live import checked

    gone, listed, live = models.withdrawn(model), [], False
    for version in reversed(models.versions(model)):
        entry = {"version": version, "state": "earlier", "reason": "", "monitor": "", "metrics": {}, "created": None}
        try:
            bundle = open_bundle(model / str(version))
        except (Damaged, UserError) as error:
            entry |= {"state": "damaged", "reason": str(error).split("\n")[0]}
        else:
            entry |= {"monitor": bundle.monitor, "metrics": dict(bundle.metrics), "created": bundle.created}
            if version not in gone and not live:
                try:
                    checked(model, version, any_signature)
                    live, entry["state"] = True, "live"
                except Damaged as error:
                    entry |= {"state": "bad", "reason": str(error)}
        if version in gone:
            entry |= {"state": "withdrawn", "reason": gone[version].get("reason", "")}
        listed.append(entry)
    return listed


def line(name, entry):
    """An entry as the columns of a table."""
    metrics, monitor = entry["metrics"], entry["monitor"]
    shown = f"{monitor} {metrics[monitor]:.4f}" if monitor in metrics else ""
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["created"])) if entry["created"] else ""
    reason = f": {entry['reason']}" if entry["reason"] else ""
    return [name, str(entry["version"]), shown, created, f"{entry['state']}{reason}"]
