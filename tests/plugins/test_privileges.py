"""A built-in has no privilege, the core names no plugin, and nothing unpickles: read from the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import oarlock
from oarlock.plugins import load_host

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))

# Of the built-in components: `callback/ema` and `ema`. "step" and "update" are also words of the core's own.
NAMES = {name for path, entry in load_host().registry.entries.items() if entry.plugin.distribution == "oarlock"
         for name in (path, path.partition("/")[2])} - {"step", "update"}  # fmt: skip
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
# What these take may hold a pickle.
LOADERS = {"paddle.load", "paddle.jit.load", "paddle.static.load", "paddle.framework.io.load", "paddle.hub.load"}


def dotted(node):
    """`a.b.c` of nested attributes, or an empty text."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return inner and f"{inner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree):
    """(module, name) of every import, inside functions and by `import_module` too; name is '' for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            # An f-string is known by its beginning, a variable not at all.
            first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            yield (first.value if isinstance(first, ast.Constant) else "?"), ""


def privileges(tree):
    """What a built-in takes from oarlock that is not exported."""
    for module, name in imports(tree):
        if module.startswith(("oarlock.", "..")) or module == "?":
            yield module
        elif module == "oarlock" and name and name not in oarlock.__all__:
            yield f"oarlock.{name}"
    for node in ast.walk(tree):
        path = dotted(node) if isinstance(node, ast.Attribute) else ""
        if path.startswith("oarlock.") and path.split(".")[1] not in oarlock.__all__:
            yield path


def plugins_named(tree):
    """Where the core imports a plugin, or has the name of a plugin's module or component as a text."""
    for module, _ in imports(tree):
        if module.split(".")[0] in ("oarlock_plugins", "hydra_plugins"):
            yield module
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # noqa: SIM102
            if "oarlock_plugins" in node.value or node.value in NAMES:
                yield node.value


def unpicklings(tree):
    """What could execute a pickle."""
    for module, name in imports(tree):
        if module.split(".")[0] in PICKLES or f"{module}.{name}" in LOADERS:
            yield f"{module}.{name}"
    aliases = {alias.asname: alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
               for alias in node.names if alias.asname}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = dotted(node).partition(".")
            if f"{aliases.get(first, first)}.{rest}" in LOADERS:
                yield dotted(node)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield "allow_pickle"
        elif isinstance(node, ast.Constant) and node.value == "allow_pickle":
            yield "allow_pickle"


def found(check, path):
    return list(check(ast.parse(path.read_text(encoding="utf-8"))))


def test_there_is_something_to_read():
    assert len(CORE) > 15
    assert len(PLUGINS) > 20
    assert {"callback/ema", "ema", "optimizer/adam", "adam"} < NAMES


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_a_built_in_uses_what_anybody_can(path):
    assert found(privileges, path) == []


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_neither_imports_nor_names_a_plugin(path):
    assert found(plugins_named, path) == []


@pytest.mark.parametrize("path", CORE + PLUGINS, ids=lambda path: path.name)
def test_nothing_can_unpickle(path):
    assert found(unpicklings, path) == []


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (privileges, "from oarlock import load_host"),
        (privileges, "from oarlock.plugins import load_host"),
        (privileges, "import oarlock.run"),
        (privileges, "import oarlock\noarlock.training.train"),
        (privileges, "import importlib\nimportlib.import_module('oarlock.run')"),
        (privileges, "import importlib\nimportlib.import_module(f'oarlock.{name}')"),
        (privileges, "import importlib\nimportlib.import_module(name)"),
        (plugins_named, "def later():\n    import oarlock_plugins.models"),
        (plugins_named, "from oarlock_plugins.callbacks.ema import Ema"),
        (plugins_named, "__import__('oarlock_plugins')"),
        (plugins_named, "path = 'oarlock_plugins.models'"),
        (plugins_named, "if name == 'callback/ema': pass"),
        (plugins_named, "if name == 'early_stopping': pass"),
        (unpicklings, "import pickle"),
        (unpicklings, "from pickle import loads"),
        (unpicklings, "import joblib.numpy_pickle"),
        (unpicklings, "__import__('pickle')"),
        (unpicklings, "import paddle\npaddle.load(path)"),
        (unpicklings, "import paddle as p\np.load(path)"),
        (unpicklings, "from paddle import load"),
        (unpicklings, "from paddle.jit import load as other"),
        (unpicklings, "import numpy\nnumpy.load(path, allow_pickle=True)"),
        (unpicklings, "import numpy\nnumpy.load(path, allow_pickle=flag)"),
        (unpicklings, "import numpy\nnumpy.load(path, **{'allow_pickle': True})"),
    ],
)
def test_what_is_planted_is_found(check, source):
    assert list(check(ast.parse(source)))
