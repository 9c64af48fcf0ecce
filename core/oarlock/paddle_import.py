"""Paddle's import: once, silent, and without what it imports for things that a run never does."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

from oarlock.errors import UserError

# To compile operators in C++, for which setuptools is imported and a compiler looked for, and to download.
DEFERRED = ("paddle.utils.cpp_extension", "paddle.utils.cpp_extension.extension_utils", "httpx")
_prepared = False
_waiting: set[str] = set()  # of DEFERRED, those that are imported and not loaded
_loading = threading.RLock()


def import_paddle() -> ModuleType:
    """Import Paddle, which takes a second and warns of what no user can act on.

    Raises:
        UserError: Paddle is not installed.
    """
    global _prepared
    if _prepared:
        return sys.modules["paddle"]
    if "paddle" not in sys.modules and importlib.util.find_spec("paddle") is None:
        raise UserError("PaddlePaddle is not installed: pip install 'oarlock[cpu]' or 'oarlock[gpu]'.")
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Recorded, not filtered: Paddle changes the filters while it is imported.
    with warnings.catch_warnings(record=True), _no_collections(), _deferring():
        warnings.simplefilter("ignore")
        paddle = importlib.import_module("paddle")
    # Paddle takes over SIGTERM to print a dump and die, which would cost the run its last checkpoint.
    paddle.disable_signal_handler()
    _prepared = True
    warnings.filterwarnings("ignore", message="When training, we now always track global mean", category=UserWarning)
    return paddle


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """While open, no garbage is collected: of what an import makes there is none, and to look takes a tenth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _deferring() -> Iterator[None]:
    """While open, an import of a module in DEFERRED gives one that is loaded when something in it is asked for."""
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what is in DEFERRED where Python does."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in DEFERRED else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Leaves the loading for later."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        _waiting.add(module.__name__)
        module.__class__ = _Deferred


class _Deferred(ModuleType):
    """A module that is loaded when something in it is asked for.

    `importlib.util.LazyLoader` does the same, but also when a module within it is imported, which Paddle does.
    """

    def __getattr__(self, name: str) -> Any:
        with _loading:
            if self.__name__ in _waiting:
                _waiting.remove(self.__name__)
                try:
                    cast(importlib.abc.Loader, self.__loader__).exec_module(self)
                except BaseException:
                    _waiting.add(self.__name__)
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)
