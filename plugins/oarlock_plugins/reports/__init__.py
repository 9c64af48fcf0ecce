"""`oarlock report`: the runs of a folder as a ranking, as data, and as a page that needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

from oarlock import Exit, UserError, hookimpl, shown_path


def configure(parser):
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run, a sweep, or a folder with many of them")
    parser.add_argument("--sort", metavar="COLUMN", help="a metric, best first, or another column, smallest first")
    parser.add_argument("--filter", action="append", default=[], metavar="TEST",
                        help="optimizer=adam, 'valid/accuracy>0.9', status=failed; several must all hold")  # fmt: skip
    parser.add_argument("--columns", metavar="A,B", help="these columns: metrics, configuration keys, status, …")
    parser.add_argument("--all", action="store_true", help="every value that differs, and every metric")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print comma-separated values, a line for each run")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where to write the page (default: DIR/report.html)")


def run(args):
    from oarlock_plugins.reports.collect import collect
    from oarlock_plugins.reports.output import as_csv, as_json, as_text, chosen_columns
    from oarlock_plugins.reports.rows import make_rows

    found = collect(args.folder)
    rows = make_rows(found, args.filter, args.sort)
    columns = chosen_columns(found, args.columns, args.all or args.csv)
    if args.json:
        print(as_json(found, rows, args.all))
    elif args.csv:
        print(as_csv(rows, columns))
        for problem in found.problems:
            print(f"damaged: {problem}", file=sys.stderr)
    else:
        print(as_text(found, rows, columns, args.sort, sys.stdout.isatty()))
    if args.html or not (args.json or args.csv):
        from oarlock_plugins.reports.page import write_page

        target = args.html or args.folder / "report.html"
        try:
            write_page(found, make_rows(found, args.filter, None), target)
        except OSError as error:
            raise UserError(f"report: {target} cannot be written: {error.strerror}.\n"
                            "Choose another place with --html FILE.") from error  # fmt: skip
        print(f"report: {shown_path(target)}", file=sys.stderr if args.json or args.csv else sys.stdout)
    return Exit.DONE


@hookimpl
def register_commands(register):
    register("report", help="Show the runs of a folder: a ranking, and a page to read offline.", configure=configure,
             run=run)  # fmt: skip
