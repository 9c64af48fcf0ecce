"""Commands in forks of one process that has imported Paddle and Hydra already, so that none of them pays for that again.

A fork does what `oarlock` does: it is a process of its own, with its own folder, environment, output and signals.
`python -m tests.forks` is the process that forks; it reads jobs as JSON lines, and answers each with the child's process
id and, later, its exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What only few commands import, and what would run.
BESIDE = ("oarlock.testing", "oarlock.__main__", "oarlock_plugins.trackers", "oarlock_plugins.reports")


class Forks:
    """The process that forks, from the outside."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip

    def start(self, command: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> int:
        """Start `oarlock …` or `python file …`; returns its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"command": command, "folder": str(folder), "environment": environment, "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self, child: int, timeout: float) -> int:
        """The exit code of what was started last.

        Raises:
            TimeoutError: it was killed after so many seconds.
        """
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            os.kill(child, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        code = int(self._process.stdout.readline())
        timer.cancel()
        if late.is_set():
            raise TimeoutError(f"not done after {timeout} s")
        return code

    def run(
        self, command: list[str], folder: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a folder to its end."""
        outputs = [folder / ".fork-out", folder / ".fork-err"]
        for output in outputs:
            output.write_text("")
        try:
            code = self.wait(self.start(command, folder, environment, *outputs), timeout)
            return subprocess.CompletedProcess(command, code, *(output.read_text() for output in outputs))
        finally:
            for output in outputs:
                output.unlink()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def run(job: dict) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(job["out"], os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(os.open(job["err"], os.O_WRONLY | os.O_APPEND), 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    importlib.invalidate_caches()
    name, *arguments = sys.argv[:] = job["command"]
    if name == "oarlock":
        return importlib.import_module("oarlock.cli").main(arguments)
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


def prepare() -> None:
    """Import what commands import, and have no fork look for garbage in it, which would copy its memory."""
    from hydra.core.plugins import Plugins

    from oarlock.paddle_import import import_paddle
    from oarlock.vetting import parse

    import_paddle()
    for package in ("oarlock", "oarlock_plugins"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.startswith(BESIDE):
                importlib.import_module(module.name)
    Plugins.instance()
    parse(["the=grammar"])
    gc.collect()
    gc.freeze()


def serve() -> None:
    prepare()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run(json.loads(line))
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # tearing Paddle down in order takes half a second and shows nothing
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
