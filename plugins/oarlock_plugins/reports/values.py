"""Values as a report compares, shows and writes them."""

from __future__ import annotations

import math
from typing import Any

from oarlock_plugins.dotted import dotted


def plain(value: Any) -> Any:
    """A value of a configuration as a number, or as the text that is written in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(str(plain(one)) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{plain(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return number(value, value)
    return value


def number(text: str, otherwise: Any = None) -> Any:
    """The number that a text is, if it is a finite one."""
    for kind in (int, float):
        try:
            read = kind(text)
            return read if math.isfinite(read) else otherwise
        except (
            ValueError,
            OverflowError,
        ):  # a whole number of hundreds of digits is finite, and too large to be compared
            continue
    return otherwise


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Each value of a nested configuration by its dotted key, as a report shows it."""
    return {key: plain(value) for key, value in dotted(config).items() if value != {}}


def finite(value: Any) -> Any:
    """The value with infinities and NaN as None, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measured(value: float | None, deviation: float | None = None) -> str:
    """A measurement with four digits after the point, or four in all where it is small or large."""
    if value is None:
        return ""
    text = _four(value)
    return text if deviation is None else f"{text} ± {_four(deviation)}"


def _four(value: float) -> str:
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.3e}"


def setting(value: Any) -> str:
    """A value of a configuration; a number that a sampler drew is cut to four digits."""
    if value is None:
        return ""
    if isinstance(value, float) and len(str(value)) > 8:
        return f"{value:.4g}"
    return str(value)
