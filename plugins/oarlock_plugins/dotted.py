"""A configuration without levels."""

from __future__ import annotations

from typing import Any


def dotted(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Each value that is no dict, or an empty one, by its path as it is typed: {"optimizer.learning_rate": 0.1}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= dotted(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found
