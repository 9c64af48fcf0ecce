"""The command `oarlock update`."""

from __future__ import annotations

import math
from pathlib import Path

from oarlock import UserError
from oarlock_plugins.service import models


def configure(parser):
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument("overrides", nargs="*", default=[], help="of the live version's run: trainer.epochs=3 "
                        "optimizer.learning_rate=1e-4 data.base.path=…")  # fmt: skip
    parser.add_argument("--models", type=Path, required=True, metavar="MODELS_DIR", help="the folder of models")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE",
                        help="new rows: .csv, .npz, .npy files, or folders with such files")  # fmt: skip
    parser.add_argument("--targets", type=Path, metavar="FILE.npy", help="the targets, where --data is one .npy file")
    parser.add_argument("--holdout", nargs="+", default=[], metavar="FILE", help="rows to compare on (default: the "
                        "test rows of the run's data, or else its validation rows)")  # fmt: skip
    parser.add_argument("--replay", type=float, metavar="SHARE", help="share of the rows that the model learned from "
                        "before to train on again (default: 1)")  # fmt: skip
    parser.add_argument("--batch-norm", choices=("frozen", "updated"), default="updated", help="whether BatchNorm "
                        "keeps its running statistics, or goes on with them (default: updated)")  # fmt: skip
    parser.add_argument("--allow-loss", type=float, default=0.0, metavar="D", help="publish although the metric is worse "
                        "by up to D (default: 0)")  # fmt: skip
    parser.add_argument("--least-fit", type=float, default=0.5, metavar="SHARE", help="how far the model must get on the new "
                        "rows, once trained on them, as a share of its metric on the hold-out (default: 0.5)")  # fmt: skip
    parser.add_argument(
        "--any-signature", action="store_true", help="take for live what a server with --any-signature does"
    )


def run(args):
    from oarlock_plugins.service.export.formats import require_converter
    from oarlock_plugins.service.updates.locks import held
    from oarlock_plugins.service.updates.start import Options
    from oarlock_plugins.service.updates.update import update

    if args.replay is not None and not 0 <= args.replay <= 1:
        raise UserError(f"--replay {args.replay:g}: expected a share between 0 and 1.")
    if not 0 <= args.allow_loss < math.inf:
        raise UserError(f"--allow-loss {args.allow_loss:g}: expected 0 or more, in the units of the metric.")
    if not 0 <= args.least_fit <= 1:
        raise UserError(f"--least-fit {args.least_fit:g}: expected a share between 0 and 1.")
    data, more = sorted_out(args.data)
    holdout, still_more = sorted_out(args.holdout)
    if not data:
        raise UserError("--data: expected files with new rows.")
    options = Options(data, args.targets, holdout, args.replay, args.batch_norm == "frozen", args.allow_loss,
                      args.least_fit, args.any_signature, [*args.overrides, *more, *still_more])  # fmt: skip
    model = models.find(args.models, args.name).absolute()
    require_converter()
    with held(model / "updates" / ".lock", f"{args.name}: another update of it is running."):
        return update(model, options)


def sorted_out(words):
    """Files, and the overrides that followed them."""
    files = [word for word in words if "=" not in word or Path(word).exists()]
    return [Path(word) for word in files], [word for word in words if word not in files]
