"""A component is a dataclass whose fields are its configuration and whose hooks are its behaviour."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from oarlock.errors import OarlockError, nearest, one_line

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # typing.dataclass_transform is 3.11; at run time it does nothing

    def dataclass_transform(**_: Any) -> Any:
        return lambda decorated: decorated


T = TypeVar("T")
_MARK = "__oarlock_component__"
_PROPERTIES = (property, functools.cached_property)
# Hooks whose results nobody reads; what others return may be an iterator.
_MOMENTS = ("on_", "after_")
_FIELDS = re.compile(r"^(?:Args|Attributes):\n", re.MULTILINE)


class BadComponent(OarlockError):
    """A class that cannot be a component; the message says what to change."""


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
def component(cls: type[T]) -> type[T]:
    """Make a class a component: `dataclass(eq=False)` and a mark.

    Equality is identity because pluggy refuses two equal plugins and needs a hash. What a component must
    remember goes into `__post_init__` attributes, and into `state_dict()` / `load_state_dict(state)`.
    """
    # Without the __repr__ that dataclasses compile for each class: help loads every plugin.
    decorated = dataclasses.dataclass(eq=False, repr=False, match_args=False)(cls)
    if decorated.__repr__ is object.__repr__:
        decorated.__repr__ = _repr  # type: ignore[method-assign]
    setattr(decorated, _MARK, decorated)
    return decorated


def _repr(self: Any) -> str:
    values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self))
    return f"{type(self).__qualname__}({values})"


def is_component(cls: object) -> bool:
    """Whether `cls` itself (not only a parent) was decorated with `@component`."""
    return isinstance(cls, type) and vars(cls).get(_MARK) is cls


def verify(cls: type, hooks: Mapping[str, Collection[str]]) -> None:
    """Refuse a component that would fail later or be ignored silently.

    Args:
        cls: the class.
        hooks: the arguments of every hook, by its name.

    Raises:
        BadComponent: it is not decorated, a field bears a hook's name, has no usable type or would appear in the
            configuration by accident, its state could be saved but not loaded, or one of its hooks is refused by
            `verify_hooks`.
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
    names = {name for base in cls.__mro__[:-1] for name in vars(base)}
    verify_hooks(cls, names, where, hooks)


def verify_hooks(owner: object, names: Iterable[str], where: str, hooks: Mapping[str, Collection[str]]) -> list[str]:
    """Refuse hook implementations that would fail later or never be called.

    Args:
        owner: a class or an object.
        names: its attributes.
        where: what a person calls it.
        hooks: the arguments of every hook, by its name.

    Returns:
        the names of those that are marked.

    Raises:
        BadComponent: a method bears a hook's name without the mark, a property bears it, or a marked method is no hook,
            takes what its hook does not give, or has a body that would not run when it is called.
    """
    found = []
    for name in sorted(names):
        # No hook has such a name; and CPython 3.11 is slower with an object into whose `__dict__` somebody has looked.
        method = None if name.startswith("__") else getattr(owner, name, None)
        if not callable(method):
            kind = owner if isinstance(owner, type) else type(owner)
            if name in hooks and isinstance(inspect.getattr_static(kind, name, None), _PROPERTIES):
                raise BadComponent(f"{where}.{name} bears the name of a hook but is a property, so it is never called; "
                                   "make it a method with @hookimpl, or rename it")  # fmt: skip
            continue
        marked = hasattr(method, "oarlock_impl")
        if name in hooks and not marked:
            raise BadComponent(f"{where}.{name} bears the name of a hook but is not marked: add @hookimpl")
        if marked:
            _verify_hook(f"{where}.{name}", name, method, hooks)
            found.append(name)
    return found


def verify_types(cls: type) -> None:
    """Refuse a component whose types cannot be a configuration; apart from `verify`, since that takes OmegaConf.

    Raises:
        BadComponent: an annotation names what is not there at run time, or OmegaConf has no such type.
    """
    from omegaconf import OmegaConf

    where = f"{cls.__module__}.{cls.__qualname__} declares fields that cannot be configured"
    try:
        hints = typing.get_type_hints(cls)
    except Exception as error:  # an annotation is any expression, and raises what it likes
        raise BadComponent(
            f"{where}: {one_line(error)}; types are read at run time, so import them outside of TYPE_CHECKING"
        ) from error
    try:
        OmegaConf.structured(cls)
        unfit = [f"{name} {reason}" for name, hint in hints.items() if (reason := _unfit_type(hint))]
    except Exception as error:  # the author's defaults and types, whatever they raise
        raise BadComponent(f"{where}: {_unfit_field(cls, hints)}{one_line(error)}") from error
    if unfit:
        raise BadComponent(f"{where}: {unfit[0]}")


def _unfit_field(cls: type, hints: Mapping[str, Any]) -> str:
    """Which field it is that OmegaConf does not take alone, with a colon; '' where each of them is fine alone."""
    from omegaconf import OmegaConf

    for field in dataclasses.fields(cls):
        own = dataclasses.field(default=field.default, default_factory=field.default_factory)
        try:
            OmegaConf.structured(dataclasses.make_dataclass("Alone", [(field.name, hints[field.name], own)]))
        except Exception:
            return f"{field.name}: "
    return ""


def _unfit_type(hint: Any, outside: tuple[Any, ...] = ()) -> str:
    """Why a run with a value of this type could not be recorded and gone on with, or sent as a trial; '' where it can."""
    if hint is bytes:
        return "is of type bytes, which a run's record does not hold"
    if dataclasses.is_dataclass(hint) and hint not in outside:
        if hint.__dataclass_params__.frozen:  # type: ignore[union-attr]
            return f"is of type {hint.__qualname__}, whose options cannot be set; remove its frozen=True"  # type: ignore[union-attr]
        inside = (_unfit_type(one, (*outside, hint)) for one in typing.get_type_hints(hint).values())
        return next(filter(None, inside), "")
    keys = typing.get_args(hint)[:1] if typing.get_origin(hint) in (dict, Mapping) else ()
    if keys and isinstance(keys[0], type) and (keys[0] in (int, float, bool, bytes) or issubclass(keys[0], Enum)):
        return f"has keys of type {keys[0].__name__}, which a run's record does not hold"
    return next(filter(None, (_unfit_type(one, outside) for one in typing.get_args(hint))), "")


def _verify_hook(where: str, name: str, method: Any, hooks: Mapping[str, Collection[str]]) -> None:
    options = method.oarlock_impl
    name = options["specname"] or name
    if name not in hooks and options["optionalhook"]:
        return  # it fills a group of a package that need not be installed
    if name not in hooks:
        raise BadComponent(f"{where} is marked @hookimpl but there is no such hook. {nearest(name, hooks)}")
    if name.startswith("register_"):
        raise BadComponent(f"{where} is called in a plugin's module only; move it out of the class")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise BadComponent(f"{where} is an async def, which nobody awaits; make it a plain def")
    wraps = options["wrapper"] or options["hookwrapper"]
    if name.startswith(_MOMENTS) and inspect.isgeneratorfunction(method) and not wraps:
        raise BadComponent(
            f"{where} has a yield, so its body would never run; remove it, or write @hookimpl(wrapper=True)"
        )
    taken, optional = pluggy._hooks.varnames(method)
    if taken[:1] == ("self",):  # of a function that was made elsewhere pluggy does not see that it is a class's
        taken = taken[1:]
    by_keyword = _by_keyword(method)
    for argument in (*taken, *(one for one, has_default in by_keyword.items() if not has_default)):
        if argument not in hooks[name]:
            raise BadComponent(f"{where}: {name} gives no '{argument}'. {nearest(argument, hooks[name])}")
        if argument in by_keyword:
            raise BadComponent(f"{where}: the argument '{argument}' is taken by its name only, and is given by its place; "
                               "remove the '*'")  # fmt: skip
    for argument in (*optional, *by_keyword):
        if argument in hooks[name]:
            raise BadComponent(f"{where}: the argument '{argument}' has a default, so it is never passed; remove it")


def _by_keyword(method: Any) -> dict[str, bool]:
    """The arguments that are taken by name only, which pluggy does not see, and whether each has a default."""
    code = getattr(method, "__code__", None)  # a signature of `inspect` takes ten times as long
    names = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount] if code else ()
    return {name: name in (method.__kwdefaults__ or {}) for name in names}


def summary(cls: object) -> str:
    """The first line of the docstring."""
    return _documentation(cls).split("\n")[0]


def prose(cls: object) -> str:
    """The docstring without its list of fields."""
    return _FIELDS.split(_documentation(cls), maxsplit=1)[0].strip()


def field_docs(cls: type) -> dict[str, str]:
    """The text of each entry under `Args:` (or `Attributes:`) in the docstring."""
    docs: dict[str, str] = {}
    current = ""
    _, *blocks = _FIELDS.split(_documentation(cls), maxsplit=1)
    for line in "".join(blocks).split("\n"):
        entry = re.match(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if entry:
            current = entry[1]
            docs[current] = entry[2].strip()
        elif line.startswith("     ") and current:
            docs[current] += " " + line.strip()
        elif line.strip():
            break
    return docs


def field_types(cls: type) -> dict[str, Any]:
    """The types of the fields, resolved, in their order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def choices(kind: Any) -> list[str]:
    """The values of a field that has few, as they are written in an override."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [value for member in typing.get_args(kind) for value in choices(member)]
    if kind is bool:
        return ["false", "true"]
    if kind is type(None):
        return ["null"]
    return list(kind.__members__) if isinstance(kind, type) and issubclass(kind, Enum) else []


def _documentation(cls: object) -> str:
    text = (inspect.getdoc(cls) or "").strip()
    # `dataclass` puts the signature in the place of a docstring that is not there.
    return "" if isinstance(cls, type) and text.startswith(f"{cls.__name__}(") else text
