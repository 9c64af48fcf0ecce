"""What an export says of a run that cannot be one."""

from __future__ import annotations

from oarlock import UserError


class NotExportable(UserError):
    """The run trains, but no bundle can answer as it does; the message says where it differs or what stops it."""


def reason(error: BaseException) -> str:
    """The line of an error that says something; Paddle puts its own last, after a trace of the traced code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    text = (telling or lines or [""])[-1]
    return text[:300] if telling else f"{type(error).__name__}: {text}"[:300]
