"""The command line: which command, what it prints, which exit code. Paddle and Hydra are imported when needed."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from oarlock import collector, completion, display
from oarlock.core_commands import CORE_COMMANDS
from oarlock.errors import Exit, RunFailed, UserError, describe, nearest
from oarlock.plugins import Host, load_host
from oarlock.registry import Command
from oarlock.selection import FLAGS, take_flags

TRAIN_HELP = """\
overrides:
  optimizer=sgd                   choose an option of a group
  optimizer.learning_rate=0.1     set a value
  callback=[progress,ema]         choose the options of a list group
  +callback=ema  ~callback.ema    add one, leave one out
  experiment=seed_mnist           take a whole set of overrides from a file
  -m optimizer=adam,sgd seed=0,1  sweep over all combinations; range(0,10,2) too
  -m optimizer.learning_rate='tag(log,interval(1e-4,1e-1))' sweep.trials=50
                                  search; oarlock show sweep/search has its options
  hydra.run.dir=DIR               where to record it; a sweep: hydra.sweep.dir=DIR

exit codes: 0 done, 1 the run failed, 2 the input is wrong,
            75 stopped by a signal ('oarlock resume' continues it)
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ours, and that does not guess abbreviated flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = message.rpartition(": ")[2].split()[0] if message.startswith("unrecognized") else ""
        if unknown.partition("=")[0] in (*FLAGS, "--no-autoload"):  # a plugin's command may have a -p of its own
            raise UserError(f"{self.prog}: {unknown}: what chooses plugins stands before this command: oarlock {unknown} "
                            f"… {self.prog.partition(' ')[2]} …")  # fmt: skip
        raise UserError(f"{self.prog}: {message}. {nearest(unknown, flags) if unknown else ''}".rstrip())

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Options may stand between a command's arguments, but for one with commands of its own or that takes a rest as it is."""
        if any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions):
            return self.parse_args(arguments)
        return self.parse_intermixed_args(arguments)

    def flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = int(Exit.DONE)
    try:
        code = int(_dispatch(arguments) or Exit.DONE)  # a plugin's command may return nothing
        sys.stdout.flush()
        return code
    except UserError as error:
        return _complain(str(error), Exit.BAD_INPUT)
    except RunFailed as error:
        return _complain(f"the run failed: {error}", Exit.RUN_FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted before there was anything to save", Exit.RUN_FAILED)
    except BrokenPipeError:
        # The reader (head, less) has left; that is no failure of ours, and hides none.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except Exception as error:
        return _complain(f"{describe(error)}; HYDRA_FULL_ERROR=1 shows the traceback", Exit.RUN_FAILED)


def run() -> NoReturn:
    """The console script: `main`, and the end of the process."""
    _open_streams()
    collector.hold()
    code = main()
    if "paddle" in sys.modules:
        from oarlock.runtime import leave

        leave(code)
    sys.exit(code)


def _open_streams() -> None:
    """Have three streams that take any text.

    One that was closed (`>&-`) leads nowhere, else the first file that is opened would have its number, and get what Paddle
    prints. A character that an encoding does not have is written as an escape: no run is lost for it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(handle, True)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and (out.encoding, out.errors) != ("utf-8", "surrogateescape"):
        out.reconfigure(errors="backslashreplace")


def _complain(message: str, code: Exit) -> Exit:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from oarlock import __version__

        print(f"oarlock {__version__}")
        return Exit.DONE
    arguments = take_flags(arguments, {command.name: command for command in CORE_COMMANDS}, os.environ)
    host = load_host()
    commands = all_commands(host)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(display.overview(commands))
        return Exit.DONE
    if arguments[0] == "_complete":
        return _complete(host, arguments[2:])
    command = commands.get(arguments[0])
    if command is None:
        why = host.registry.refused.get(f"command {arguments[0]}", "there is no such command")
        raise UserError(f"oarlock {arguments[0]}: {why}. {nearest(arguments[0], commands)}")
    parser = parser_of(command, host)
    try:
        parsed = parser.parse(arguments[1:])
    except SystemExit:  # after --help; every complaint is a UserError
        return Exit.DONE
    if command in CORE_COMMANDS and parsed.p:
        raise UserError(f"oarlock {command.name} -p {parsed.p[0]}: what chooses plugins is a word of its own: "
                        f"-p {parsed.p[0]}, not one with other flags.")  # fmt: skip
    parsed.host = host
    if command not in CORE_COMMANDS:  # it may be a server, which makes garbage for months
        collector.release()
    return command.run(parsed)


def all_commands(host: Host) -> dict[str, Command]:
    """The core's commands and those of plugins; one that takes a core command's name is refused."""
    for command in CORE_COMMANDS:
        host.refuse_command(command.name, "is one of oarlock's own")
    return {**{command.name: command for command in CORE_COMMANDS}, **host.commands}


def parser_of(command: Command, host: Host) -> Parser:
    """The parser of a command; `train` and `check` say in their help what an override is, and list the groups."""
    epilog = f"{TRAIN_HELP}\n{display.groups(host)}" if command.name in ("train", "check") else None
    parser = Parser(prog=f"oarlock {command.name}", description=command.help, epilog=epilog)
    command.configure(parser)
    if command in CORE_COMMANDS:
        _plugin_flags(parser)
    return parser


def _plugin_flags(parser: argparse.ArgumentParser) -> None:
    """For the help; they are taken out before a parser sees the arguments, since plugins are loaded before it."""
    flags = parser.add_argument_group("which plugins are loaded (before a plugin's command, or anywhere here)")
    flags.add_argument(
        "-p", metavar="MODULE", action="append", help="load this module too; no:NAME leaves a plugin out"
    )
    flags.add_argument("--no-autoload", action="store_true", help="only oarlock's own, and those named with -p")
    flags.add_argument(
        "--allow-plugins", metavar="A,B", help="only those of these distributions; the rest is not imported"
    )


def _complete(host: Host, words: list[str]) -> int:
    """What the shells' scripts call: print what the last word may become."""
    commands = all_commands(host)
    found = completion.candidates(host, words, list(commands), lambda name: parser_of(commands[name], host).flags())
    print("\n".join(found))
    return Exit.DONE
