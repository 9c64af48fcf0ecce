"""Where a run computes and in which arithmetic: decided by pure functions, applied in one place."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from oarlock.errors import UserError
from oarlock.paddle_import import import_paddle
from oarlock.schema import Precision


@dataclass(frozen=True)
class PrecisionPolicy:
    """What mixed precision means for a step: `auto_cast` to `dtype`, and a loss scaler or none."""

    enabled: bool
    dtype: str
    scaler: bool


def resolve_device(requested: str, gpus: int, version: str) -> str:
    """The Paddle device for `device=requested` on a machine with so many usable GPUs.

    Raises:
        UserError: a GPU is asked for that is not there.
    """
    if requested == "cpu" or (requested == "auto" and gpus == 0):
        return "cpu"
    number = int(requested.partition(":")[2] or 0) if requested != "auto" else 0
    if number >= gpus:
        raise UserError(
            f"device={requested}: Paddle {version} sees {gpus} GPU{'s' if gpus != 1 else ''} here.\n"
            f"Choose {'device=cpu' if gpus == 0 else f'gpu:0 to gpu:{gpus - 1}'}, or install paddlepaddle-gpu with CUDA."
        )
    return f"gpu:{number}"


def precision_policy(precision: Precision, device: str) -> PrecisionPolicy:
    """The arithmetic on a device.

    Raises:
        UserError: mixed precision on CPU, where Paddle ignores it without a word.
    """
    if precision is not Precision.fp32 and not device.startswith("gpu"):
        raise UserError(
            f"trainer.precision={precision.name}: mixed precision needs a GPU; on {device} Paddle would silently use fp32."
        )
    return PrecisionPolicy(precision is not Precision.fp32, precision.value, precision is Precision.fp16)


def deterministic_flags(deterministic: bool, device: str) -> dict[str, bool]:
    """The Paddle flags that make kernels deterministic; a CPU needs none."""
    if not deterministic or not device.startswith("gpu"):
        return {}
    return {"FLAGS_cudnn_deterministic": True, "FLAGS_embedding_deterministic": True}


def generator_seeder(device: str) -> Callable[[int], Any]:
    """What seeds Paddle's random numbers on a device; on a CPU without the detour of `paddle.seed`, on each step."""
    paddle = import_paddle()
    seed: Callable[[int], Any] = (
        paddle.seed if device != "cpu" else paddle.base.core.default_cpu_generator().manual_seed
    )
    return seed


def numpy_sees(device: str) -> bool:
    """Whether NumPy can look at tensors where they are, which on a CPU it can from Paddle 3 on."""
    return device == "cpu" and hasattr(import_paddle().Tensor, "__dlpack__")


def numpy_knows(dtype: Any) -> bool:
    """Whether NumPy itself has a dtype of Paddle's, of which another library may have taught it more (bfloat16)."""
    name = str(dtype).removeprefix("paddle.")
    return name in np.sctypeDict and np.dtype(name).isbuiltin == 1


def device_memory() -> int:
    """The bytes of memory of the present GPU, or of this machine."""
    paddle = import_paddle()
    if paddle.is_compiled_with_cuda() and paddle.get_device().startswith("gpu"):
        return int(paddle.device.cuda.get_device_properties().total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpu_count() -> int:
    paddle = import_paddle()
    return int(paddle.device.cuda.device_count()) if paddle.is_compiled_with_cuda() else 0


def setup_device(requested: str, deterministic: bool) -> str:
    """Choose the device for everything that is built from now on; returns its name."""
    paddle = import_paddle()
    if not paddle.in_dynamic_mode():  # as in any other thread than the one that has imported Paddle
        paddle.disable_static()
    device = resolve_device(requested, gpu_count(), paddle.__version__)
    flags = deterministic_flags(deterministic, device)
    if flags:
        paddle.set_flags(flags)
    paddle.set_device(device)
    return device
