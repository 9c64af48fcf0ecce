"""The process that a run computes in: what makes Paddle fast on this CPU, set before Paddle's first operation.

The figures are in benchmarks/LOG.md.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from oarlock.errors import warn

MKL_PATH = "MKL_DEBUG_CPU_TYPE"
AVX2, AVX512 = "5", "7"
# Gradients of megabytes are kept by malloc, where it would give them back to the system on each step.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MALLOC = {"trim_threshold": (M_TRIM_THRESHOLD, 256 << 20), "mmap_threshold": (M_MMAP_THRESHOLD, 32 << 20)}
_in_force: dict[str, str] | None = None


def mkl_paths(cpuinfo: str) -> list[str]:
    """The values of MKL_DEBUG_CPU_TYPE that this CPU can run and gains from, the fastest last.

    MKL takes a slow path on a CPU of AMD unless it is told which instructions there are. The results are as
    accurate, but not bitwise those of the slow path.

    Args:
        cpuinfo: the text of Linux's /proc/cpuinfo.
    """
    fields = dict(line.split("\t", 1) for line in cpuinfo.splitlines() if "\t" in line)
    vendor, flags = (fields.get(name, "").strip("\t: ") for name in ("vendor_id", "flags"))
    have = set(flags.split())
    if vendor != "AuthenticAMD" or "avx2" not in have:
        return []
    return [AVX2, AVX512] if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= have else [AVX2]


def choose_mkl_path(tune: bool, cpuinfo: str, environment: str | None, recorded: Mapping[str, str] | None) -> str:
    """The value of MKL_DEBUG_CPU_TYPE for a run; '' leaves it unset.

    A resumed run computes as it did before, where this CPU can. Otherwise the user's environment decides, then we.

    Args:
        tune: whether to tune at all, `runtime.tune`.
        cpuinfo: the text of /proc/cpuinfo, empty on another system than Linux.
        environment: the variable's value in the environment, if any.
        recorded: what the run was recorded with; None for a new run.
    """
    paths = mkl_paths(cpuinfo)
    if recorded is not None and recorded.get(MKL_PATH, "") in {"", *paths, environment}:
        return recorded.get(MKL_PATH, "")
    if environment:
        return environment
    return paths[-1] if tune and paths else ""


def setup_runtime(tune: bool, recorded: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tune this process, or leave it as it is; returns the settings in force, for the run's record.

    The first run of a process decides for all: MKL reads its setting once. A run that wanted another is told so.
    """
    global _in_force
    ours = _in_force is not None and MKL_PATH in _in_force
    environment = None if ours else os.environ.get(MKL_PATH)
    wanted = {name: str(value) for name, (_, value) in MALLOC.items()} if tune and _has_mallopt() else {}
    path = choose_mkl_path(tune, _cpuinfo(), environment, recorded)
    if path:
        wanted[MKL_PATH] = path
    if _in_force is None:
        _in_force = wanted
        if path:
            os.environ[MKL_PATH] = path
        else:
            os.environ.pop(MKL_PATH, None)
        if MALLOC.keys() <= wanted.keys():
            libc = ctypes.CDLL(None)
            for option, value in MALLOC.values():
                libc.mallopt(option, value)
    if recorded is not None and recorded.get(MKL_PATH, "") != _in_force.get(MKL_PATH, ""):
        warn(f"{MKL_PATH} is '{_in_force.get(MKL_PATH, '')}' and was '{recorded.get(MKL_PATH, '')}' when the run was "
             "recorded: the last bits of its numbers will differ")  # fmt: skip
    elif wanted != _in_force:
        warn(f"runtime.tune={str(tune).lower()} is too late: an earlier run of this process has decided")
    return dict(_in_force)


def leave(code: int) -> NoReturn:
    """End this process as Python would, but without taking its objects apart, over which Paddle needs half a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads and executors, as multiprocessing does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader has left, or it is closed
            stream.flush()
    os._exit(code)


@functools.cache
def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""


@functools.cache
def _has_mallopt() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")
