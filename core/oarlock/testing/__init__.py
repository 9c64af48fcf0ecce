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

__all__ = ["Checker", "Nonconforming", "Subject", "checks_for", "conformance"]

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

    checks, run_check = checks_for(path), Checker(path, overrides)
    for name in skip:
        if name not in checks:
            raise ValueError(f"skip={name}: there is no such check. {nearest(name, checks)}")

    @pytest.mark.filterwarnings("ignore:When training, we now always track global mean:UserWarning")  # Paddle's own
    @pytest.mark.parametrize("check", [name for name in checks if name not in skip])
    def test(check: str, tmp_path: Any, tmp_path_factory: Any) -> None:
        run_check(check, tmp_path, tmp_path_factory)

    return test


class Checker:
    """Runs the checks of one component on one subject, so that what several of them need is trained once.

    Args:
        path: the component.
        overrides: what it needs beside it.
    """

    def __init__(self, path: str, overrides: Sequence[str]) -> None:
        self._path, self._overrides = path, overrides
        self._subject: Subject | None = None

    def __call__(self, check: str, scratch: Any, factory: Any) -> None:
        """Run one check.

        Args:
            check: its name.
            scratch: an empty folder.
            factory: pytest's `tmp_path_factory`: what the checks share outlives the folder of one test.

        Raises:
            Nonconforming: the component does not do what the check wants.
        """
        if self._subject is None:
            self._subject = Subject(self._path, self._overrides, factory.mktemp("conformance"))
        self._subject.scratch = scratch
        checks_for(self._path)[check](self._subject)
