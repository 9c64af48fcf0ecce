"""What computes a bundle's answers: onnxruntime, or Paddle's own inference engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oarlock import Damaged, UserError, import_paddle, nearest
from oarlock_plugins.service.bundle import PADDLE, Bundle

# Inputs by name to outputs by name; the first axis of each is the row.
Engine = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
KINDS = ("onnxruntime", "paddle")
CUDA = "CUDAExecutionProvider"


def open_engine(bundle: Bundle, kind: str = "onnxruntime", threads: int = 1, device: str = "cpu") -> Engine:
    """An engine for a bundle; it may be called by one thread at a time.

    Args:
        bundle: the bundle, verified.
        kind: one of KINDS.
        threads: how many it computes with.
        device: `cpu`, or `gpu:0`.

    Raises:
        UserError: there is no such engine or device, or its package is not installed.
    """
    if kind not in KINDS:
        raise UserError(f"engine={kind}: no such engine. {nearest(kind, KINDS)}")
    gpu_of(device)
    try:
        return _onnxruntime(bundle, threads, device) if kind == "onnxruntime" else _paddle(bundle, threads, device)
    except ImportError as error:
        raise UserError(f"engine={kind} needs {error.name}, which is not installed.\n"
                        f"pip install {'paddlepaddle' if kind == 'paddle' else kind}") from error  # fmt: skip


def gpu_of(device: str, typed: str = "device=") -> int | None:
    """The number of a GPU; None for the CPU.

    Args:
        device: `cpu`, `gpu` or `gpu:1`.
        typed: what stands before it.

    Raises:
        UserError: it is none of these.
    """
    match = re.fullmatch(r"cpu|gpu(?::(\d+))?", device)
    if match is None:
        raise UserError(f"{typed}{device}: expected cpu, gpu or gpu:N. {nearest(device, ['cpu', 'gpu', 'gpu:0'])}")
    return None if device == "cpu" else int(match[1] or 0)


def check_device(kind: str, device: str, typed: str) -> None:
    """Refuse a device that an engine would not compute on: each takes the CPU then, and says nothing.

    Args:
        kind: one of KINDS.
        device: as it was typed.
        typed: what stands before it.

    Raises:
        UserError: there is no such device here.
    """
    number = gpu_of(device, typed)
    if number is None:
        return
    if kind == "onnxruntime":
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            raise UserError(f"{typed}{device}: the onnxruntime that is installed computes on the CPU alone.\n"
                            "pip install onnxruntime-gpu in its place, or leave the option out.")  # fmt: skip
        return
    paddle = import_paddle()
    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if number >= count:
        raise UserError(f"{typed}{device}: Paddle sees {count} GPUs here; leave the option out for the CPU.")


def check_reference(bundle: Bundle, engine: Engine) -> dict[str, float]:
    """The greatest absolute difference of each output from what the bundle says that it must be.

    Raises:
        Damaged: one differs by more than the bundle's tolerance.
    """
    inputs, expected = bundle.reference()
    answers = engine(inputs)
    differences = {}
    for name, wanted in expected.items():
        difference, same = compare(answers[name], wanted, bundle.tolerance)
        differences[name] = difference
        if not same:
            raise Damaged(f"{bundle.path.name}: its reference inputs give another {name}: "
                          f"off by {difference:.3g}, allowed are {bundle.tolerance:g}")  # fmt: skip
    return differences


def compare(found: np.ndarray, expected: np.ndarray, tolerance: float) -> tuple[float, bool]:
    """The greatest absolute difference of two arrays, and whether they agree; NaN agrees with nothing."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf"), False
    if not np.issubdtype(expected.dtype, np.floating):
        return float((found != expected).any()), bool((found == expected).all())
    difference = float(np.max(np.abs(found.astype("float64") - expected), initial=0.0))
    return difference, bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance))


def _onnxruntime(bundle: Bundle, threads: int, device: str) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin while they wait take the core from whoever makes the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    gpu = gpu_of(device)
    if gpu is not None:
        providers.insert(0, (CUDA, {"device_id": gpu}))
    session = onnxruntime.InferenceSession(bundle.onnx, options, providers=providers)
    if gpu is not None and CUDA not in session.get_providers():
        raise UserError(f"device={device}: onnxruntime found no such GPU and would compute on the CPU.")
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def _paddle(bundle: Bundle, threads: int, device: str) -> Engine:
    import_paddle()
    from paddle import inference

    config = inference.Config(str(bundle.path / PADDLE / "model.json"), str(bundle.path / PADDLE / "model.pdiparams"))
    config.disable_glog_info()
    config.disable_mkldnn()  # with it the answers are not to the bit those of the trained model
    config.set_cpu_math_library_num_threads(threads)
    gpu = gpu_of(device)
    if gpu is not None:
        config.enable_use_gpu(256, gpu)
    predictor = inference.create_predictor(config)
    names = predictor.get_output_names()

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(inputs[name]))
        predictor.run()
        found = (predictor.get_output_handle(name).copy_to_cpu() for name in names)
        return dict(zip((spec.name for spec in bundle.outputs), found, strict=True))

    return run
