"""The conformance kit: what oarlock expects of a component, checked by one line in its author's tests.

```python
from oarlock.testing import conformance

test_lion = conformance("optimizer/lion")
```

Without a test file: `pytest -p oarlock.testing.plugin --component optimizer/lion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oarlock.errors import nearest
from oarlock.testing import by_kind, every_kind
from oarlock.testing.subject import Nonconforming, Subject

__all__ = ["Nonconforming", "Subject", "checks_for", "conformance"]

Check = Callable[[Subject], None]


def checks_for(path: str) -> dict[str, Check]:
    """The checks of a component by name: those for every kind, then those for its own.

    Args:
        path: `group/name`; a group of a plugin's own has the checks for every kind.
    """
    return {**every_kind.CHECKS, **by_kind.CHECKS.get(path.partition("/")[0], {})}


def conformance(path: str, *overrides: str, skip: Sequence[str] = ()) -> Any:
    """A pytest test function, one case for each check.

    Args:
        path: the component, `group/name`, as it was registered.
        overrides: what it needs beside it, as on the command line: `"data=csv"`, `"task=regression"`. By default it
            runs on the digits with a small perceptron.
        skip: names of checks that do not apply to it.

    Raises:
        ValueError: `skip` names a check that there is not.
    """
    import pytest

    checks = checks_for(path)
    for name in skip:
        if name not in checks:
            raise ValueError(f"skip={name}: there is no such check. {nearest(name, checks)}")

    @pytest.mark.filterwarnings("ignore:When training, we now always track global mean:UserWarning")  # Paddle's own
    @pytest.mark.parametrize("check", [name for name in checks if name not in skip])
    def test(check: str, tmp_path: Any) -> None:
        checks[check](Subject(path, overrides, tmp_path))

    return test
