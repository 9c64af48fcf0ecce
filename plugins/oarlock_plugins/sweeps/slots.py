"""How a machine is shared out among the trials that run at once: GPUs and threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from oarlock import UserError


def plan_slots(
    slots: int | None, threads: int | None, per_gpu: int, gpus: Sequence[str], cores: int, environment: dict[str, str]
) -> list[dict[str, str]]:
    """The environment of each slot: which GPU it sees, how many threads it computes with.

    Args:
        slots: how many; None for one a GPU (`per_gpu` of them), or one a core.
        threads: of each; None to share the cores out.
        per_gpu: slots on each GPU.
        gpus: the GPUs that there are, as CUDA_VISIBLE_DEVICES names them; empty to compute on the CPU.
        cores: the cores that there are.
        environment: this process's; who sets OMP_NUM_THREADS there has decided.
    """
    count = slots or (len(gpus) * per_gpu if gpus else max(1, cores // (threads or 1)))
    share = str(threads or max(1, cores // count))
    planned = []
    for slot in range(count):
        own: dict[str, str] = {}
        if "OMP_NUM_THREADS" not in environment or threads:
            own |= {"OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share, "OPENBLAS_NUM_THREADS": share}
        if gpus:
            own["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        planned.append(own)
    return planned


def refuse_hidden_gpu(device: str, seen: int) -> None:
    """Check what a trial asks for against the GPUs that its worker sees, which it numbers from 0.

    Raises:
        UserError: it asks for one that it will not see.
    """
    kind, _, number = device.partition(":")
    if kind == "gpu" and int(number or 0) >= max(1, seen):
        raise UserError(
            f"device={device}: a trial of this sweep sees {max(1, seen)} GPU{'s' if seen > 1 else ''}, numbered from 0.\n"
            "Write device=gpu; the variable CUDA_VISIBLE_DEVICES says which GPUs a sweep may use."
        )


def visible_gpus(environment: dict[str, str], driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; Paddle is not asked, nor imported."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        listed = [one.strip() for one in named.split(",") if one.strip()]
        return listed[: listed.index("-1")] if "-1" in listed else listed  # as CUDA reads it
    return [str(number) for number in range(len(list(driver.iterdir())) if driver.is_dir() else 0)]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))
