"""Where a run computes and in which arithmetic: decided by pure functions, applied in one place."""

from __future__ import annotations

import functools
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


def unusable(compute: Callable[[], Any]) -> str:
    """Why a device cannot compute, as Paddle says it; '' where it can.

    Args:
        compute: computes something on it.
    """
    try:
        compute()
    except Exception as error:  # Paddle raises whatever a driver's or a library's failure makes of it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "rror" in line), type(error).__name__)[:300]
    return ""


@functools.cache
def try_device(device: str) -> str:
    """Why the present device, a GPU, cannot compute; '' where it can. Paddle may see one that it has no code for."""
    paddle = import_paddle()
    return unusable(lambda: paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).numpy())


def setup_device(requested: str, deterministic: bool) -> str:
    """Choose the device for everything that is built from now on; returns its name.

    Raises:
        UserError: a GPU is asked for that is not there, or that this Paddle cannot compute on.
    """
    paddle = import_paddle()
    if not paddle.in_dynamic_mode():  # as in any other thread than the one that has imported Paddle
        paddle.disable_static()
    device = resolve_device(requested, gpu_count(), paddle.__version__)
    flags = deterministic_flags(deterministic, device)
    if flags:
        paddle.set_flags(flags)
    paddle.set_device(device)
    if device != "cpu" and (reason := try_device(device)):
        name = paddle.device.cuda.get_device_name(int(device.partition(":")[2]))
        raise UserError(
            f"device={requested}: Paddle {paddle.__version__} cannot compute on {device}, {name}: {reason}\n"
            "Choose device=cpu, or install a paddlepaddle-gpu that was built for this GPU and its CUDA."
        )
    return device
