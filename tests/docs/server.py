"""A process that has imported Paddle and Hydra and forks for each command, so that none of them pays for that again.

It reads jobs as JSON lines, and answers each with the child's process id and, later, its exit code. What a child
does is what `oarlock` does: a process of its own, with its own folder, output and signals.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import traceback

from hydra.core.plugins import Plugins

from oarlock.device import import_paddle
from oarlock.vetting import parse


def run(job: dict) -> int:
    output = os.open(job["output"], os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(job["folder"])
    sys.path[:0] = job["path"]
    importlib.invalidate_caches()
    name, *arguments = sys.argv[:] = job["command"]
    if name == "oarlock":
        return importlib.import_module("oarlock.cli").main(arguments)
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


def serve() -> None:
    import_paddle()
    for module in ("oarlock.cli", "oarlock.commands", "oarlock.preflight", "oarlock.sweep"):
        importlib.import_module(module)
    Plugins.instance()
    parse(["the=grammar"])
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
            os._exit(code)  # tearing Paddle down in order takes half a second and shows nothing
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
