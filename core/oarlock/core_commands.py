"""The core's own commands: what they take, and what they print. Paddle and Hydra are imported when needed."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oarlock import completion, display
from oarlock.errors import Exit, UserError, say, shown_path
from oarlock.registry import Command
from oarlock.selection import with_flags

if TYPE_CHECKING:
    from oarlock.run import Run
    from oarlock.training import Interrupted

# Hydra's own way to say -m.
MULTIRUN = "hydra.mode=MULTIRUN"

# --- train


def _configure_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="GROUP=OPTION, +GROUP=OPTION, ~GROUP.OPTION, PATH.TO.VALUE=…")
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: a=1,2 makes one run for each value")
    parser.add_argument("-c", "--cfg", choices=["job", "hydra", "all"], help="print the configuration and stop")
    parser.add_argument("--resolve", action="store_true", help="with --cfg job: write the values of ${…} out")
    parser.add_argument(
        "-cd", "--config-dir", metavar="DIR", help="your own files: DIR/experiment/mine.yaml, DIR/optimizer/mine.yaml"
    )


def _train(args: argparse.Namespace) -> int:
    sweeps = args.multirun or MULTIRUN in args.overrides
    if args.cfg:
        return _print_config(args, sweeps)
    if sweeps:
        args.host.manager.hook.on_sweep_requested(overrides=args.overrides)
    from oarlock import config, new_run
    from oarlock.training import Interrupted

    composed = None if sweeps else config.compose(args.host, args.overrides, args.config_dir)
    if composed is None or composed.sweeps:
        from oarlock.sweep import multirun

        return multirun(args.host, args.overrides, args.config_dir)
    _log_to_terminal(composed.hydra.verbose)
    try:
        number = not composed.folder_chosen
        run = new_run.train_config(args.host, composed.config, composed.folder, number=number, last=True)
    except Interrupted as stop:
        return _report_interrupted(stop)
    _report(run)
    return Exit.DONE


def _log_to_terminal(verbose: bool | str | Sequence[str]) -> None:
    """What Hydra's users know: hydra.verbose=true, or the names of the loggers to hear."""
    for name in ["oarlock"] if verbose is True else [verbose] if isinstance(verbose, str) else verbose or []:
        logging.getLogger(name).addHandler(logging.StreamHandler())
        logging.getLogger(name).setLevel(logging.DEBUG)


def _print_config(args: argparse.Namespace, sweeps: bool) -> int:
    from omegaconf import OmegaConf

    from oarlock import config

    composed = config.compose(args.host, args.overrides, args.config_dir, sweeps)
    if args.cfg in ("hydra", "all"):
        print(OmegaConf.to_yaml(OmegaConf.create({"hydra": composed.hydra})), end="")
    if args.cfg in ("job", "all"):
        print(OmegaConf.to_yaml(composed.config, resolve=args.resolve), end="")
    return Exit.DONE


def _report(run: Run) -> None:
    """What the user sees last: how it ended, how good it is, where it is, what to try next."""
    assert run.folder is not None
    folder = shown_path(run.folder)
    reason = f" ({run.stop_reason})" if run.stop_reason else ""
    print(f"{run.status.replace('_', ' ')} after {run.step} steps{reason}")
    if run.best is not None:
        print(f"best {run.best['monitor']} {run.best['value']:.4f} at step {run.best['step']}", end="")
        tests = [f"{name} {value:.4f}" for name, value in run.metrics.items() if name.startswith("test/")]
        print(f"; with these weights {', '.join(tests)}" if tests else "")
    print(f"run: {folder}")
    print(f"next: {with_flags('evaluate', folder)}\n"
          "      oarlock train optimizer=sgd optimizer.learning_rate=0.1\n"
          "      oarlock train -m optimizer=adam,sgd seed=0,1")  # fmt: skip


def _report_interrupted(stop: Interrupted) -> int:
    say(f"stopped by {stop}, saved; '{with_flags('resume', shown_path(stop.folder))}' continues it", sys.stderr)
    return Exit.INTERRUPTED


# --- check, resume, evaluate


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="as for train")
    parser.add_argument("-m", "--multirun", action="store_true", help="check every point of the sweep")
    parser.add_argument("-cd", "--config-dir", metavar="DIR", help="a folder with more configuration files")


def _check(args: argparse.Namespace) -> int:
    from oarlock.preflight import preflight

    return preflight(args.host, args.overrides, args.config_dir, args.multirun or MULTIRUN in args.overrides)


def _configure_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder of a run or a sweep")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="what may change: trainer.epochs, trainer.max_steps, …; of a sweep: sweep.…",
    )
    parser.add_argument(
        "--allow-drift", action="store_true", help="continue a run although plugins or libraries have changed"
    )


def _resume(args: argparse.Namespace) -> int:
    from oarlock import commands
    from oarlock.sweep import is_sweep
    from oarlock.sweep import resume as resume_sweep
    from oarlock.training import Interrupted

    folder = _where_it_was_made(args.folder)
    if is_sweep(folder):
        if args.allow_drift:
            raise UserError(f"--allow-drift: expected a run's folder; {shown_path(folder)} is a sweep's.\n"
                            f"Resume the runs in it that were interrupted with --allow-drift, then the sweep without it.")  # fmt: skip
        return resume_sweep(args.host, folder, args.overrides)
    try:
        run = commands.resume(folder, args.overrides, last=True, allow_drift=args.allow_drift)
    except Interrupted as stop:
        return _report_interrupted(stop)
    if run is not None:
        _report(run)
    return Exit.DONE


def _where_it_was_made(folder: Path) -> Path:
    """Go to where a run or a sweep was begun, since relative paths in its configuration begin there; its folder."""
    from oarlock.record import RUN
    from oarlock.sweep import SWEEP

    for name in (SWEEP, RUN):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # whoever reads it next says what is wrong
            made_in = Path(json.loads((folder / name).read_text(encoding="utf-8"))["cwd"])
            if made_in.is_dir() and not made_in.samefile("."):
                print(f"it was made in {made_in}, where its relative paths begin", file=sys.stderr)
                folder = folder.absolute()
                os.chdir(made_in)
            return folder
    return folder


def _configure_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a run's folder")
    parser.add_argument("overrides", nargs="*", default=[], help="other data: data=mnist data.root=…")
    parser.add_argument("--split", action="append", default=[], help="train, valid or test; by default valid and test")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _evaluate(args: argparse.Namespace) -> int:
    from oarlock import recorded
    from oarlock.record import finite

    metrics = recorded.evaluate(args.folder, args.overrides, args.split)
    if not metrics:
        raise UserError(f"evaluate {args.folder}: its data has neither validation nor test rows. Choose --split train, or "
                        "name rows of your own, as with data.test_path=FILE.")  # fmt: skip
    if args.json:
        print(json.dumps(finite(metrics)))
    else:
        for name, value in metrics.items():
            print(f"{name} {value:.6g}")
    return Exit.DONE


# --- plugins, show, completion


def _configure_plugins(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def _plugins(args: argparse.Namespace) -> int:
    print(display.plugins_json(args.host) if args.json else display.plugins(args.host))
    return Exit.DONE


def _configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("component", help="group/name, a group, or trainer")


def _show(args: argparse.Namespace) -> int:
    print(display.show(args.host, args.component))
    return Exit.DONE


def _configure_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(completion.SCRIPTS), help="print the script for this shell")


def _completion(args: argparse.Namespace) -> int:
    print(completion.SCRIPTS[args.shell], end="")
    return Exit.DONE


CORE_COMMANDS = (
    Command("train", "Train one run; with -m, one for every combination of values.", _configure_train, _train),
    Command("check", "Compose, build and run one batch, without training.", _configure_check, _check),
    Command("resume", "Continue a run or a sweep exactly where it stopped.", _configure_resume, _resume),
    Command("evaluate", "Evaluate a run's best weights.", _configure_evaluate, _evaluate),
    Command("plugins", "List the installed plugins and their components.", _configure_plugins, _plugins),
    Command("show", "Show a component's options, types, defaults and documentation.", _configure_show, _show),
    Command("completion", "Print the completion script of a shell.", _configure_completion, _completion),
)
