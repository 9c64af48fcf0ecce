"""The command `oarlock export`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oarlock import Exit, UserError, scratch_folder, seal, shown_path

if TYPE_CHECKING:
    from oarlock_plugins.service.bundle import Bundle, TensorSpec

TOLERANCE = 1e-5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--to", type=Path, metavar="DIR", help="the folder to make of it")
    place.add_argument("--models", type=Path, metavar="MODELS_DIR",
                       help="publish it as the next version in a folder of models: MODELS_DIR/NAME/VERSION")  # fmt: skip
    parser.add_argument("--name", help="of the model in MODELS_DIR (default: DATA-MODEL, such as digits-bn_mlp)")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="T",
                        help=f"how far an answer may be off, absolute and relative (default: {TOLERANCE:g})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from oarlock_plugins.service import models
    from oarlock_plugins.service.bundle import open_bundle
    from oarlock_plugins.service.export.writing import write_bundle

    if not 0 < args.tolerance < 1:
        raise UserError(f"--tolerance {args.tolerance:g}: expected a number between 0 and 1, such as {TOLERANCE:g}.")
    if args.name and not args.models:
        raise UserError(f"--name {args.name}: a name is for --models MODELS_DIR; --to {args.to} is one already.")

    if args.models:
        models.refuse_part(args.models, "--models ")

    def fill(folder: Path) -> None:
        write_bundle(args.run, folder, args.tolerance)

    try:
        if args.models:
            path, _ = models.publish(args.models, args.name or default_name(args.run), fill)
        else:
            path = write_sealed(args.to, fill)
    except OSError as error:
        target = shown_path(args.to or args.models)
        raise UserError(f"{target}: the bundle cannot be written: {error.strerror}.") from error
    print(described(open_bundle(path)))
    return Exit.DONE


def write_sealed(target: Path, fill: Callable[[Path], Any]) -> Path:
    """A folder that appears whole, or not at all.

    Raises:
        UserError: there is something of this name.
    """
    target = target.absolute()
    if target.exists() or target.is_symlink():
        raise UserError(f"--to {shown_path(target)}: it exists already. Name a folder that does not.")
    with scratch_folder(target.parent, target.name) as scratch:
        fill(scratch)
        seal(scratch, target)
    return target


def default_name(run: Path) -> str:
    """What the run learned from and with, `digits-bn_mlp`.

    Raises:
        UserError: it is no run.
    """
    from oarlock_plugins.service.export.recorded import read_record

    components = read_record(run)["components"]
    return "-".join(components[group]["component"].partition("/")[2] for group in ("data", "model"))


def described(bundle: Bundle) -> str:
    """What a person wants to know of a new bundle."""

    def tensors(specs: Sequence[TensorSpec]) -> str:
        return ", ".join(f"{spec.name} {spec.dtype}{['rows', *spec.shape]}".replace("'", "") for spec in specs)

    off = ", ".join(f"{engine} {difference:.2g}" for engine, difference in bundle.parity.items() if engine != "rows")
    return (f"bundle: {shown_path(bundle.path)}\n"
            f"takes {tensors(bundle.inputs)}\n"
            f"gives {tensors(bundle.outputs)}\n"
            f"off the trained model on {bundle.parity['rows']:.0f} rows by at most: {off}")  # fmt: skip
