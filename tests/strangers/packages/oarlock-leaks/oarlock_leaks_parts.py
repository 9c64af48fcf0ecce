"""Components, each with a mistake of its own, and one without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from oarlock import component, hookimpl

if TYPE_CHECKING:
    from pathlib import Path


@component
class MistypedHook:
    """on_stepend."""

    @hookimpl
    def on_stepend(self, run):
        raise AssertionError("nobody can call this")


@component
class Unmarked:
    """No @hookimpl."""

    def on_step_end(self, run):
        raise AssertionError("nobody can call this")


@component
class MistypedArgument:
    """runs for run."""

    @hookimpl
    def on_step_end(self, runs):
        raise AssertionError("nobody can call this")


@component
class DefaultArgument:
    """An argument that would never be passed."""

    @hookimpl
    def on_evaluation_end(self, run, metrics=None):
        raise AssertionError("nobody can call this")


@component
class KeywordDefault:
    """The same behind a star."""

    @hookimpl
    def on_evaluation_end(self, run, *, metrics=None):
        raise AssertionError("nobody can call this")


@component
class KeywordOnly:
    """An argument that is taken by its name only."""

    @hookimpl
    def on_step_end(self, *, run):
        raise AssertionError("nobody can call this")


@component
class MistypedKeyword:
    """runs for run, behind a star."""

    @hookimpl
    def on_step_end(self, *, runs):
        raise AssertionError("nobody can call this")


@component
class Yields:
    """A wrapper that is not marked as one."""

    @hookimpl
    def on_step_end(self, run):
        yield


@component
class Awaits:
    """Nobody awaits it."""

    @hookimpl
    async def compute_penalty(self, model):
        raise AssertionError("nobody can call this")


@component
class Property:
    """A hook that is no method."""

    @property
    @hookimpl
    def on_step_end(self):
        raise AssertionError("nobody can call this")


@component
class ModuleHook:
    """A module's hook in a class."""

    @hookimpl
    def register_commands(self, register):
        raise AssertionError("nobody can call this")


@component
class HookField:
    """A field with a hook's name."""

    forward: int = 1


@component
class HiddenField:
    """A field that is no option."""

    count: int = field(default=0, init=False)


@component
class OddType:
    """A type that a configuration cannot have."""

    call: Callable[[], int] = print


@dataclass(frozen=True)
class Rigid:
    number: int = 1


@dataclass
class Holds:
    rigid: Rigid | None = None


@component
class FrozenType:
    """Options of which no override could set one."""

    holds: Holds = field(default_factory=Holds)


class Side(Enum):
    PORT = 1


@component
class KeyType:
    """Keys that a record cannot have."""

    sides: dict[Side, int] = field(default_factory=dict)


@component
class LateType:
    """A type that is not there at run time."""

    folder: Path = None


@component
class Forgetful:
    """State that could be saved but not loaded."""

    def state_dict(self):
        return {}


class Bare:
    """Not decorated."""


@component
class Fine:
    """Nothing wrong with it."""


@hookimpl
def register_components(register):
    register("callback/mistyped_hook", MistypedHook)
    register("callback/unmarked", Unmarked)
    register("callback/mistyped_argument", MistypedArgument)
    register("callback/default_argument", DefaultArgument)
    register("callback/keyword_default", KeywordDefault)
    register("callback/keyword_only", KeywordOnly)
    register("callback/mistyped_keyword", MistypedKeyword)
    register("callback/yields", Yields)
    register("callback/awaits", Awaits)
    register("callback/property", Property)
    register("callback/module_hook", ModuleHook)
    register("callback/hook_field", HookField)
    register("callback/hidden_field", HiddenField)
    register("callback/odd_type", OddType)
    register("callback/frozen_type", FrozenType)
    register("callback/key_type", KeyType)
    register("callback/late_type", LateType)
    register("callback/forgetful", Forgetful)
    register("callback/bare", Bare)
    register("callback/fine", Fine)
    register("callback/again", Fine)
    register("Callback/Loud", Fine)
    register("trainer/fine", Fine)
    register("optimizer/fine", Fine, many=True)
