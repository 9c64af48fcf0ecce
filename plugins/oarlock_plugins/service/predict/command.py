"""The command `oarlock predict`."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oarlock import Damaged, Exit, RunFailed, UserError, nearest, shown_path

if TYPE_CHECKING:
    from oarlock_plugins.service.bundle import Bundle, TensorSpec
    from oarlock_plugins.service.engines import Engine
    from oarlock_plugins.service.predict.sources import Source


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="what `oarlock export` made")
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="FILE",
                        help="rows as .npy, .npz, .csv or .parquet; several are taken one after the other")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="FILE",
                        help="answers as .csv, .parquet, .npz or .npy, one for each row of the input")  # fmt: skip
    parser.add_argument("--columns", metavar="A,B", help="which columns of a table are the model's inputs, in order; A..B "
                        "stands for all from A to B; a name with a comma stands in double quotes")  # fmt: skip
    parser.add_argument("--outputs", metavar="A,B", help="which answers to write (default: all)")
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--header", action="store_true", default=None, help="the first line of a CSV has names")
    first.add_argument("--no-header", action="store_false", dest="header", help="the first line of a CSV is a row")
    parser.add_argument("--delimiter", default=",", metavar="CHARACTER", help="between the fields of a CSV")
    parser.add_argument("--engine", default="onnxruntime", metavar="NAME", help="onnxruntime or paddle")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one for each core)")


def run(args: argparse.Namespace) -> int:
    from oarlock_plugins.service.bundle import open_bundle
    from oarlock_plugins.service.predict.answers import batch_rows, settled
    from oarlock_plugins.service.predict.journal import Journal, describe_job, partial_folder, working_folder
    from oarlock_plugins.service.predict.sinks import make_sink
    from oarlock_plugins.service.predict.work import Stopped, predict, stop_requested

    require(args)
    try:
        bundle = open_bundle(args.bundle)
    except Damaged as error:
        raise UserError(f"{shown_path(args.bundle)} is not to be trusted: {error}.\nExport the run again.") from error
    outputs = chosen_outputs(bundle, args.outputs)
    files = open_files(args, bundle)
    engines = open_engines(args, bundle)
    outputs = settled(outputs, bundle, engines[0], files)
    options = {"--columns": args.columns, "--outputs": args.outputs, "--header": args.header,
               "--delimiter": args.delimiter, "--engine": args.engine}  # fmt: skip
    target = args.output.absolute()
    sink = make_sink(args.output, partial_folder(target), bundle, outputs)
    with working_folder(target) as folder:
        job = describe_job(bundle.path, args.input, options)
        journal = Journal(target, folder, sink, job)
        try:
            if journal.begin() and not journal.finished:
                print(f"going on behind row {journal.progress['total']:,}", file=sys.stderr, flush=True)
            if not journal.finished:
                predict(journal, sink, files, engines, outputs, batch_rows(bundle.inputs))
            with (
                stop_requested()
            ):  # all is answered and saved; to put it together is no work to be stopped in the middle
                unchanged(args, bundle, options, job)
                journal.finish()
        except Stopped as stop:
            print(f"stopped by {stop}, saved behind row {journal.progress['total']:,}; the same command goes on",
                  file=sys.stderr, flush=True)  # fmt: skip
            return Exit.INTERRUPTED
        except OSError as error:
            raise RunFailed(f"{shown_path(target)}: {error.strerror or error}; when that is mended, the same command "
                            "goes on") from error  # fmt: skip
    return report(target, journal.progress)


def require(args: argparse.Namespace) -> None:
    """Say early what is wrong with the arguments, or not installed.

    Raises:
        UserError: it names the argument or the package.
    """
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: expected at least 1.")
    if len(args.delimiter) != 1 or args.delimiter in '"\r\n' or not args.delimiter.isascii():
        raise UserError(f"--delimiter {args.delimiter!r}: expected one character, such as ',' or ';'.")
    if any(path.suffix in (".csv", ".parquet") for path in (*args.input, args.output)):
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise UserError("Tables need pyarrow, which is not installed.\npip install 'oarlock[predict]'") from error


def chosen_outputs(bundle: Bundle, asked: str | None) -> tuple[TensorSpec, ...]:
    """The outputs to write.

    Raises:
        UserError: the model gives no such output.
    """
    if asked is None:
        return bundle.outputs
    known = {spec.name: spec for spec in bundle.outputs}
    for name in asked.split(","):
        if name not in known:
            raise UserError(f"--outputs {asked}: the model gives no {name}. {nearest(name, known)}")
    return tuple(known[name] for name in dict.fromkeys(asked.split(",")))


def open_files(args: argparse.Namespace, bundle: Bundle) -> list[tuple[Path, Source]]:
    """The input files, each of which is what the model takes.

    Raises:
        UserError: one is not.
    """
    from oarlock_plugins.service.predict.sources import TableOptions, open_source

    # As a line of a CSV, since a name may have a comma in it.
    columns = tuple(next(csv.reader([args.columns], skipinitialspace=True))) if args.columns is not None else None
    options = TableOptions(columns, args.header, args.delimiter, bundle.columns)
    return [(path, open_source(path, bundle.inputs, options)) for path in args.input]


def open_engines(args: argparse.Namespace, bundle: Bundle) -> list[Engine]:
    """An engine for each worker.

    Raises:
        UserError: there is no such engine, or it gives other answers than the trained model.
    """
    from oarlock_plugins.service.engines import check_reference, open_engine

    engines = [open_engine(bundle, args.engine) for _ in range(args.workers or len(os.sched_getaffinity(0)))]
    try:
        check_reference(bundle, engines[0])
    except Damaged as error:
        raise UserError(f"{error}.\nThe engine of this machine is not to be trusted with it.") from error
    return engines


def unchanged(args: argparse.Namespace, bundle: Bundle, options: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """Have no output of inputs that changed while they were read.

    Raises:
        RunFailed: one has.
    """
    from oarlock_plugins.service.predict.journal import changed, describe_job

    if difference := changed(job, describe_job(bundle.path, args.input, options)):
        raise RunFailed(f"while the rows were read, {difference}")


def report(target: Path, progress: Mapping[str, int]) -> int:
    """What a person sees last; faulty rows are a failure, though all others are answered."""
    from oarlock_plugins.service.predict.journal import errors_path

    print(f"{shown_path(target)}: {progress['total']:,} rows")
    if not progress["faulty"]:
        return Exit.DONE
    print(f"error: {progress['faulty']:,} of {progress['total']:,} rows have no answer; "
          f"{shown_path(errors_path(target))} says why", file=sys.stderr, flush=True)  # fmt: skip
    return Exit.RUN_FAILED
