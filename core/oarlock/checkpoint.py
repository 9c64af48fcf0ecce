"""Checkpoints: written whole or not at all, verified before use, free of pickle.

A checkpoint is a folder `step-00000120` of safetensors and JSON files with a manifest of their SHA-256 sums.
It is written under another name, every file is brought to the disk, then it is renamed; or it comes into being with the
folder of its run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from oarlock.errors import Damaged, RunFailed, warn
from oarlock.sealed import MANIFEST, entry_of, manifest_text, read, sync_folder, write_all

if TYPE_CHECKING:
    import paddle

FOLDER = "checkpoints"
STATE, MODEL, BEST, OPTIMIZER, COMPONENTS, PREPROCESS = (
    "state.json",
    "model.safetensors",
    "best.safetensors",
    "optimizer.safetensors",
    "components.safetensors",
    "preprocess.safetensors",
)
_TENSOR = "__tensor__"


def write(root: Path, step: int, files: dict[str, bytes], keep: int) -> Path:
    """Write a checkpoint below `root` and drop the oldest beyond `keep`.

    Raises:
        OSError: the disk is full, or not writable; the earlier checkpoints are untouched.
    """
    root.mkdir(exist_ok=True)
    scratch = root / f".writing-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        write_all(scratch, with_manifest(files))
        sync_folder(scratch)
        target = _free_name(root, step)
        scratch.rename(target)
        sync_folder(root)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    for old in list(newest_first(root))[keep:]:
        remove(old)
    return target


def with_manifest(files: dict[str, bytes]) -> dict[str, bytes]:
    """All that is in a checkpoint's folder."""
    return {**files, MANIFEST: manifest_text({name: entry_of(content) for name, content in files.items()})}


def name_of(step: int) -> str:
    """The name of the first checkpoint of a step."""
    return f"step-{step:08d}"


def newest_first(root: Path) -> Iterator[Path]:
    """The checkpoints below `root`."""
    found = []
    for path in root.glob("step-*") if root.is_dir() else []:
        match = re.fullmatch(r"step-(\d+)(?:\.(\d+))?", path.name)
        if match:
            found.append((int(match[1]), int(match[2] or 0), path))
    for _, _, path in sorted(found, reverse=True):
        yield path


def newest_intact(root: Path) -> tuple[Path | None, dict[str, bytes], list[Damaged]]:
    """The newest checkpoint that verifies, its files, and what was wrong with the newer ones."""
    damaged: list[Damaged] = []
    for path in newest_first(root):
        try:
            return path, read(path), damaged
        except Damaged as error:
            damaged.append(error)
    return None, {}, damaged


def intact(folder: Path) -> tuple[dict[str, bytes], Path | None]:
    """The newest intact checkpoint's files; damaged ones are named on stderr."""
    path, files, damaged = newest_intact(folder / FOLDER)
    for error in damaged:
        instead = f"using {path.name}" if path is not None else "there is no earlier one"
        warn(f"checkpoint {error}; {instead}")
    return files, path


def set_aside_damaged(root: Path, intact: Path | None) -> None:
    """Rename what is newer than the intact checkpoint, and drop what an earlier process left half-written."""
    for path in list(newest_first(root)):
        if path == intact:
            break
        path.rename(root / f"damaged-{path.name}-{os.getpid()}")
    for scratch in root.glob(".*-*"):
        shutil.rmtree(scratch, ignore_errors=True)


def remove(path: Path) -> None:
    """Delete a checkpoint so that a kill in the middle leaves no half of it under its name."""
    gone = path.with_name(f".removing-{path.name}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _free_name(root: Path, step: int) -> Path:
    """`step-N`, or `step-N.1` and so on where the run was saved at this step before (an evaluation lay between)."""
    name = name_of(step)
    taken = [path.name for path in newest_first(root) if path.name.partition(".")[0] == name]
    return root / (f"{name}.{int(taken[0].partition('.')[2] or 0) + 1}" if taken else name)


def pack_tensors(tensors: dict[str, Any]) -> bytes:
    """Tensors and arrays as safetensors; NumPy has no bfloat16, Paddle gives and takes its bits as uint16."""
    packed: bytes = safetensors.numpy.save(
        {
            name: np.ascontiguousarray(tensor if isinstance(tensor, np.ndarray) else tensor.numpy()).reshape(
                tensor.shape
            )
            for name, tensor in tensors.items()
        }
    )
    return packed


def unpack_arrays(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """safetensors as arrays."""
    arrays: dict[str, np.ndarray[Any, Any]] = safetensors.numpy.load(content)
    return arrays


def load_weights(
    model: paddle.nn.Layer, arrays: dict[str, np.ndarray[Any, Any]], where: str, what: str = "the model"
) -> None:
    """Set every weight and buffer of a model, or of another layer, `what`.

    Raises:
        RunFailed: names or shapes differ.
    """
    own = model.state_dict()
    wrong = set(own) ^ set(arrays) or {name for name in own if list(own[name].shape) != list(arrays[name].shape)}
    if wrong:
        raise RunFailed(f"the weights in {where} do not fit {what}: {', '.join(sorted(wrong)[:4])}")
    for name, tensor in own.items():
        tensor.set_value(arrays[name])


def split_state(state: Any, prefix: str, tensors: dict[str, Any]) -> Any:
    """A component's state with its tensors and arrays taken out into `tensors`, for JSON.

    Raises:
        RunFailed: something in it is neither JSON nor a tensor.
    """
    if isinstance(state, dict):
        for key in state:
            if not isinstance(key, str):
                raise RunFailed(f"{prefix}: state_dict() has the key {key!r}; only strings survive in JSON")
        return {key: split_state(child, f"{prefix}/{key}", tensors) for key, child in state.items()}
    if isinstance(state, (list, tuple)):
        return [split_state(child, f"{prefix}/{number}", tensors) for number, child in enumerate(state)]
    if isinstance(state, (str, int, float, bool)) or state is None:
        return state
    if hasattr(state, "numpy") or isinstance(state, np.ndarray):
        tensors[prefix] = state
        return {_TENSOR: prefix, "array": isinstance(state, np.ndarray)}
    raise RunFailed(f"{prefix}: state_dict() has a {type(state).__name__}; it can have numbers, strings and tensors")


def join_state(state: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The inverse of `split_state`."""
    import paddle

    if isinstance(state, dict) and _TENSOR in state:
        array = arrays[state[_TENSOR]]
        return array if state["array"] else paddle.to_tensor(array)
    if isinstance(state, dict):
        return {key: join_state(child, arrays) for key, child in state.items()}
    if isinstance(state, list):
        return [join_state(child, arrays) for child in state]
    return state
