"""Paddle's import: once, silent, and without what it imports for things that a run never does."""

from __future__ import annotations

import contextlib
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

from oarlock import collector
from oarlock.errors import UserError

DEFERRED = (
    # To compile operators in C++, for which setuptools is imported and a compiler looked for, and to download.
    "paddle.utils.cpp_extension",
    "paddle.utils.cpp_extension.extension_utils",
    "httpx",
    # Parts of Paddle that stand beside training: a quarter of its modules.
    "paddle.audio",
    "paddle.dataset",
    "paddle.distribution",
    "paddle.geometric",
    "paddle.incubate.autograd",
    "paddle.incubate.cc",
    "paddle.incubate.nn",
    "paddle.profiler",
    "paddle.quantization",
    "paddle.sparse",
    "paddle.static.amp",
    "paddle.text",
    "paddle.utils.image_util",  # imports PIL
    "paddle.vision",
    "google.protobuf.text_format",
)
_prepared = False
_waiting: set[str] = set()  # of DEFERRED, those that are imported and not loaded
_loading = threading.RLock()
_at_import = False


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
    with warnings.catch_warnings(record=True), collector.paused(), _deferring():
        warnings.simplefilter("ignore")
        paddle = importlib.import_module("paddle")
    # Paddle takes over SIGTERM to print a dump and die, which would cost the run its last checkpoint.
    paddle.disable_signal_handler()
    _prepared = True
    warnings.filterwarnings("ignore", message="When training, we now always track global mean", category=UserWarning)
    return paddle


@contextlib.contextmanager
def _deferring() -> Iterator[None]:
    """While open, an import of a module in DEFERRED gives one that is loaded when something in it is asked for."""
    global _at_import
    _at_import = True
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    try:
        yield
    finally:
        _at_import = False


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what is in DEFERRED where Python does, while Paddle is imported.

    Paddle imports modules within a package that is not loaded; who does later has the package loaded first, as always.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if _at_import:
            spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in DEFERRED else None
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
            return spec
        package = name.rpartition(".")[0]
        if package in _waiting:
            cast(_Deferred, sys.modules[package]).load()
            if name in sys.modules:  # The package has imported it. Python takes the module's own spec, not this one.
                module = sys.modules[name]
                module.__spec__ = ModuleSpec(name, _Loaded(module))
                return module.__spec__
        return None


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


class _Loaded(importlib.abc.Loader):
    """Gives a module that there is, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Deferred(ModuleType):
    """A module that is loaded when something in it is asked for.

    `importlib.util.LazyLoader` does the same, but also when a module within it is imported, which Paddle does.
    """

    def load(self) -> None:
        with _loading:
            if self.__name__ in _waiting:
                _waiting.remove(self.__name__)
                try:
                    cast(importlib.abc.Loader, self.__loader__).exec_module(self)
                except BaseException:
                    _waiting.add(self.__name__)
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        _Deferred.load(self)
        return ModuleType.__getattribute__(self, name)
