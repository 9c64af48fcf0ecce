"""Which plugins are loaded at all: decided before any of them is imported.

The choice stands in the environment, so that the processes of a sweep inherit it; the command line's flags write it
there. oarlock's own plugins are loaded whatever is chosen, but for those that `no:NAME` names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from oarlock.errors import UserError

AUTOLOAD, PLUGINS, ALLOWED = "OARLOCK_DISABLE_PLUGIN_AUTOLOAD", "OARLOCK_PLUGINS", "OARLOCK_ALLOWED_PLUGINS"
FLAGS = {"-p": PLUGINS, "--allow-plugins": ALLOWED}


@dataclass(frozen=True)
class Selection:
    """What the user has said about plugins.

    Attributes:
        autoload: whether the installed ones are loaded.
        modules: modules to load in addition, by their import names.
        without: names of plugins (entry points or modules) that are left out.
        allowed: the only distributions whose plugins may be loaded, normalised; None for all.
    """

    autoload: bool = True
    modules: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None

    def why_not(self, name: str, distribution: str, own: bool) -> str:
        """Why a plugin is not loaded; '' where it is."""
        if name in self.without:
            return f"switched off by no:{name}"
        if own:
            return ""
        if self.allowed is not None and normalised(distribution) not in self.allowed:
            return f"the distribution {distribution} is not on the allow-list (--allow-plugins or {ALLOWED})"
        return "" if self.autoload else f"autoload is switched off (--no-autoload or {AUTOLOAD})"


def read_selection(environment: Mapping[str, str]) -> Selection:
    """The selection that stands in an environment."""
    words = _words(environment.get(PLUGINS, ""))
    allowed = environment.get(ALLOWED)
    return Selection(
        autoload=environment.get(AUTOLOAD, "0") in ("", "0"),
        modules=tuple(dict.fromkeys(word for word in words if not word.startswith("no:"))),
        without=frozenset(word[3:] for word in words if word.startswith("no:")),
        allowed=None if allowed is None else frozenset(normalised(word) for word in _words(allowed)),
    )


def flags_of(environment: Mapping[str, str]) -> list[str]:
    """The flags that say what stands in an environment."""
    flags = [word for module in _words(environment.get(PLUGINS, "")) for word in ("-p", module)]
    if environment.get(AUTOLOAD, "0") not in ("", "0"):
        flags.append("--no-autoload")
    if ALLOWED in environment:
        flags += ["--allow-plugins", ",".join(_words(environment[ALLOWED]))]
    return flags


def with_flags(command: str, folder: str) -> str:
    """What to type for a folder that was made with the plugins of this process."""
    return shlex.join(["oarlock", command, *flags_of(os.environ), folder])


def take_flags(
    arguments: list[str], everywhere: Mapping[str, object], environment: MutableMapping[str, str]
) -> list[str]:
    """Move the flags that choose plugins from a command line into an environment; returns what is left.

    They stand before the command, or among the arguments of a command of oarlock's own.

    Args:
        arguments: the words after `oarlock`.
        everywhere: the commands after which they may stand.
        environment: where `read_selection` will find them.

    Raises:
        UserError: a flag has no value, or is no name.
    """
    left: list[str] = []
    words = iter(arguments)
    for word in words:
        if left and left[0] not in everywhere:
            left.append(word)
        elif word == "--no-autoload":
            environment[AUTOLOAD] = "1"
        elif word.partition("=")[0] == "--allow-plugins" or re.match("-p(?!-)", word):
            flag = "-p" if word.startswith("-p") else "--allow-plugins"
            glued = word.removeprefix(flag)  # -pMODULE, as pytest has it, -p=MODULE, --allow-plugins=A,B
            value = glued.removeprefix("=") if glued else next(words, None)
            none_allowed = value == "" and flag == "--allow-plugins"
            if not none_allowed and not re.fullmatch(r"(no:)?[\w.-]+(,(no:)?[\w.-]+)*", value or ""):
                expected = "a module, or no:NAME" if flag == "-p" else "the names of distributions: a,b"
                raise UserError(f"{flag} {value or ''}".rstrip() + f": expected {expected}.")
            before = environment.get(FLAGS[flag], "") if flag == "-p" else ""
            environment[FLAGS[flag]] = f"{before},{value}".strip(",")
        else:
            left.append(word)
    return left


def normalised(distribution: str) -> str:
    """A distribution's name as the index compares them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]
