"""A component is a dataclass whose fields are its configuration and whose hooks are its behaviour."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

from oarlock.errors import OarlockError, nearest

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # typing.dataclass_transform is 3.11; at run time it does nothing

    def dataclass_transform(**_: Any) -> Any:
        return lambda decorated: decorated


T = TypeVar("T")
_MARK = "__oarlock_component__"


class BadComponent(OarlockError):
    """A class that cannot be a component; the message says what to change."""


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
def component(cls: type[T]) -> type[T]:
    """Make a class a component: `dataclass(eq=False)` and a mark.

    Equality is identity because pluggy refuses two equal plugins and needs a hash. What a component must
    remember goes into `__post_init__` attributes, and into `state_dict()` / `load_state_dict(state)`.
    """
    decorated = dataclasses.dataclass(eq=False)(cls)
    setattr(decorated, _MARK, decorated)
    return decorated


def is_component(cls: object) -> bool:
    """Whether `cls` itself (not only a parent) was decorated with `@component`."""
    return isinstance(cls, type) and vars(cls).get(_MARK) is cls


def verify(cls: type, hooks: Collection[str]) -> None:
    """Refuse a component that would fail or be ignored silently.

    Raises:
        BadComponent: it is not decorated, a field bears a hook's name, a method bears a hook's name without
            the mark, a marked method is no hook, or a field would appear in the configuration by accident.
    """
    where = f"{cls.__module__}.{getattr(cls, '__qualname__', cls)}"
    if not is_component(cls):
        raise BadComponent(f"{where} is not a component: decorate it with @oarlock.component")
    for field in dataclasses.fields(cls):
        if field.name in hooks:
            raise BadComponent(f"{where}: the field '{field.name}' bears the name of a hook; rename it")
        if not field.init:
            raise BadComponent(
                f"{where}: the field '{field.name}' has init=False; set it in __post_init__ without declaring it"
            )
    if hasattr(cls, "state_dict") and not hasattr(cls, "load_state_dict"):
        raise BadComponent(f"{where} has state_dict but no load_state_dict: its runs could not be resumed")
    for name, method in inspect.getmembers(cls, callable):
        marked = hasattr(method, "oarlock_impl")
        if name in hooks and not marked:
            raise BadComponent(f"{where}.{name} bears the name of a hook but is not marked: add @hookimpl")
        if marked and name not in hooks:
            raise BadComponent(f"{where}.{name} is marked @hookimpl but there is no such hook. {nearest(name, hooks)}")


def summary(cls: type) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(cls) or "").strip().split("\n")[0]


def field_docs(cls: type) -> dict[str, str]:
    """The text of each entry under `Args:` in the docstring."""
    docs: dict[str, str] = {}
    current = ""
    _, _, block = (inspect.getdoc(cls) or "").partition("Args:\n")
    for line in block.split("\n"):
        entry = re.match(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if entry:
            current = entry[1]
            docs[current] = entry[2].strip()
        elif line.startswith("     ") and current:
            docs[current] += " " + line.strip()
        elif line.strip():
            break
    return docs
