"""A file that is as it should be, and empty."""

from __future__ import annotations

from oarlock import UserError


class NoRows(UserError):
    """There is not one row in the file; for whoever looks again and again, that is no mistake."""
