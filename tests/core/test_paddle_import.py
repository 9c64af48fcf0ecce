"""What Paddle imports and no run needs is loaded when somebody asks for it, and is then as it always is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import environment

NAMES = "['paddle.utils.cpp_extension', 'paddle.utils.cpp_extension.extension_utils', 'httpx']"
LOADED = "['setuptools' in sys.modules, 'httpx._client' in sys.modules]"


def python(script):
    """What a new process prints."""
    script = f"import sys, threading, warnings\nimport oarlock\noarlock.import_paddle()\n{script}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_nothing_is_loaded_that_nobody_asked_for():
    found = python(f"""
import importlib, inspect
print({LOADED}, sorted(set({NAMES}) - set(sys.modules)))
import httpx, paddle.utils.cpp_extension
import paddle.utils.cpp_extension.extension_utils as utils
inspect.getmodule(lambda: None), [module.__file__ for module in (httpx, paddle.utils.cpp_extension, utils)]
importlib.invalidate_caches()
print({LOADED})
""")
    assert found == ["[False, False] []", "[False, False]"]


@pytest.mark.parametrize(
    ("use", "loaded"),
    [
        ("import httpx\nassert httpx.URL('http://a/b').path == '/b'", "[False, True]"),
        ("from httpx import URL\nassert URL('http://a/b').path == '/b'", "[False, True]"),
        ("import httpx._urls\nassert httpx._urls.URL is httpx.URL", "[False, True]"),
        ("import httpx\nassert not hasattr(httpx, 'nothing')", "[False, True]"),
        ("import paddle\nassert paddle.utils.cpp_extension.CppExtension(sources=['a.cc']).sources == ['a.cc']", "[True, False]"),
        ("from paddle.utils.cpp_extension import *\nassert callable(load) and callable(setup)", "[True, False]"),
        ("from paddle.utils.cpp_extension.cpp_extension import BuildExtension", "[True, False]"),
        ("import paddle.utils.cpp_extension.extension_utils as utils\nassert callable(utils.parse_op_info)", "[False, False]"),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_there(use, loaded):
    assert python(f"{use}\nprint({LOADED})") == [loaded]


def test_many_threads_ask_at_once():
    found = python("""
import httpx
barrier, found = threading.Barrier(16), []
def ask():
    barrier.wait()
    found.append(httpx.Client is httpx._client.Client)
threads = [threading.Thread(target=ask) for _ in range(16)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(found == [True] * 16, type(httpx).__name__)
""")
    assert found == ["True module"]


def test_a_module_that_fails_is_tried_again():
    found = python("""
sys.modules["httpx._api"] = None
import httpx
for _ in range(2):
    try:
        print(httpx.Client)
    except ImportError as error:
        print(type(error).__name__)
for name in [name for name in sys.modules if name.startswith("httpx.")]:
    del sys.modules[name]
print(httpx.get.__name__)
""")
    assert found == ["ModuleNotFoundError", "ModuleNotFoundError", "get"]


def test_paddle_that_was_imported_before_is_left_as_it_is():
    script = "import sys, paddle, oarlock; oarlock.import_paddle(); print('setuptools' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_a_module_of_a_deferred_package_is_as_in_a_python_that_defers_nothing():
    """Each is the first thing that a process of its own imports; what else that loads is loaded once."""
    listing = """
import importlib, os, pkgutil
warnings.simplefilter("ignore")
from oarlock.paddle_import import DEFERRED
sys.argv = ["script"]  # which Paddle reads where it compiles operators
for package in DEFERRED:
    path = sys.modules[package].__spec__.submodule_search_locations or []
    for name in [package] + [f"{package}.{found.name}" for found in pkgutil.iter_modules(path)]:
        if name == "httpx.__main__":
            continue
        sys.stdout.flush()
        if os.fork() == 0:
            try:
                module = importlib.import_module(name)
                dir(module), getattr(module, "nothing", None)
                attribute = eval(name, {package.split(".")[0]: importlib.import_module(package.split(".")[0])})
                print(name, module is attribute, module is sys.modules[name], module.__spec__.name, type(module.__loader__).__name__)
                importlib.import_module(package), getattr(sys.modules[package], "nothing", None)
                print(package, type(sys.modules[package]).__name__)
            except BaseException as error:
                print(name, type(error).__name__, error)
            sys.stdout.flush()
            os._exit(0)
        os.wait()
"""
    found = python(listing)
    assert len(found) > 200
    for line in found:
        name, _, rest = line.partition(" ")
        assert rest in ("module", f"True True {name} SourceFileLoader"), line
