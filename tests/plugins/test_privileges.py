"""A built-in has no privilege, the core names no plugin, and nothing unpickles: read from the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import oarlock

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


def imports(path):
    """(module, name) of every import in a file, inside functions too; name is '' for `import module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.name


def test_there_is_something_to_read():
    assert len(CORE) > 15
    assert len(PLUGINS) > 20


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_a_built_in_imports_what_anybody_can(path):
    for module, name in imports(path):
        if module.split(".")[0] == "oarlock":
            assert module == "oarlock", f"{path}: {module} is no part of the public interface"
            assert name in oarlock.__all__, f"{path}: oarlock.{name} is not exported"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_no_plugin(path):
    assert not [module for module, _ in imports(path) if module.split(".")[0] == "oarlock_plugins"]


@pytest.mark.parametrize("path", CORE + PLUGINS, ids=lambda path: path.name)
def test_nothing_can_unpickle(path):
    for module, _ in imports(path):
        assert module.split(".")[0] not in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"), path
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "load":
            assert not (isinstance(node.value, ast.Name) and node.value.id == "paddle"), f"{path}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), f"{path}:{node.value.lineno}"
            assert node.value.value is False, f"{path}:{node.value.lineno}"
