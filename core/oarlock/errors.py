"""What oarlock says when something is wrong, and the exit code that goes with it."""

from __future__ import annotations

import contextlib
import difflib
import sys
import traceback
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TextIO


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    RUN_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    INTERRUPTED = 75


class OarlockError(Exception):
    """Everything that oarlock raises on purpose."""


class UserError(OarlockError):
    """The user's input is wrong; the message says what was typed, what was expected, what is nearest."""


class RunFailed(OarlockError):
    """The run itself failed: an exception in a component, a non-finite loss, a full disk."""


class NonFiniteError(RunFailed):
    """A loss or a weight became infinite or not-a-number."""


class Damaged(OarlockError):
    """A sealed folder, such as a checkpoint, whose files are not the ones that were written."""


class InAnotherProcess(Exception):
    """The cause of an error that came from another process: its traceback there.

    Attributes:
        frames: where it was raised, as (file, line), the innermost frame last.
    """

    def __init__(self, text: str, frames: Sequence[tuple[str, int]]) -> None:
        super().__init__(text)
        self.frames = frames


def say(text: str, file: TextIO | None = None) -> None:
    """Print what no run need be lost for: behind `| head` nobody reads it, behind a `>` the disk may be full."""
    with contextlib.suppress(OSError):  # what waits in the stream is an error when the process ends
        print(text, file=file, flush=True)


def warn(message: str) -> None:
    """Say something that the user should know and that stops nothing."""
    say(f"warning: {message}", sys.stderr)


def nearest(word: str, choices: Iterable[str]) -> str:
    """A clause that names the nearest valid choice, or lists the choices when none is near."""
    known = sorted(set(choices))
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:
        # The tail of a name is often what was typed: `lr` for `learning_rate`, `decay` for `weight_decay`.
        close = [name for name in known if abbreviates(word, name)][:1]
    if close:
        return f"Did you mean '{close[0]}'?"
    if not known:
        return "There is none to choose."
    return f"Valid: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}."


def abbreviates(word: str, name: str) -> bool:
    """`lr` abbreviates `learning_rate`; `decay` is a part of `weight_decay`."""
    parts = name.split("_")
    return word in parts or word == "".join(part[:1] for part in parts)


def one_line(error: BaseException) -> str:
    """The first line that says something, not too long."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    text = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    # The grammar's own list of tokens helps nobody.
    return text.partition(" expecting {")[0][:300]


def describe(error: BaseException) -> str:
    """An error that nobody foresaw, in two lines: what it says, and where in the user's or a plugin's code."""
    return f"{type(error).__name__}: {one_line(error)}{raised_at(error)}"


def raised_at(error: BaseException) -> str:
    """A line that says where; '' where that is not known."""
    if isinstance(error.__cause__, InAnotherProcess):
        frames = error.__cause__.frames
    else:
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    # Where Paddle noticed it says less than who called Paddle.
    own = [frame for frame in frames if not {"paddle", "numpy"} & set(frame[0].split("/"))]
    return f"\nraised at {own[-1][0]}:{own[-1][1]}" if own else ""


def shown_path(path: Path) -> str:
    """The path as a user would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
