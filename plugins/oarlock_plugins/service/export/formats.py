"""The layer as files: Paddle's inference program, and ONNX made of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oarlock import UserError
from oarlock_plugins.service.bundle import ONNX, PADDLE, TensorSpec
from oarlock_plugins.service.export.answering import Answers
from oarlock_plugins.service.export.errors import NotExportable, reason

OPSET = 17
CONVERT = """
import sys
import paddle2onnx
paddle2onnx.export(sys.argv[1], sys.argv[2], sys.argv[3], opset_version=int(sys.argv[4]), optimize_tool="None")
"""


def write_paddle(answers: Answers, folder: Path, single: bool) -> None:
    """Trace the layer into `paddle/model.json` and `paddle/model.pdiparams`.

    Raises:
        NotExportable: it cannot be traced.
    """
    import paddle

    specs = {one.name: paddle.static.InputSpec([-1, *one.shape], one.dtype, one.name) for one in answers.inputs}
    try:
        with paddle.no_grad(), warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # of Paddle's own tracing, which nobody can act on
            paddle.jit.save(answers.layer, str(folder / PADDLE / "model"),
                            input_spec=[next(iter(specs.values())) if single else specs])  # fmt: skip
    except Exception as error:  # whatever Paddle or the traced code raises
        raise NotExportable(f"export: the model cannot be traced into a program: {reason(error)}\n"
                            "What depends on the values of a batch must be Paddle's own operators, not Python.") from error  # fmt: skip


def write_onnx(folder: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Make `model.onnx` of the Paddle files, with the names of the predictions.

    Raises:
        NotExportable: an operator of it has no counterpart.
    """
    source, target = folder / PADDLE / "model", folder / ONNX
    # In a process of its own: the converter aborts where it meets an operator that it does not know.
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, f"{source}.json", f"{source}.pdiparams", str(target), str(OPSET)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode or not target.is_file():
        raise NotExportable(f"export: the model cannot be written as ONNX: {_complaint(done.stdout + done.stderr)}")
    _name_outputs(target, inputs, outputs)


def require_converter() -> None:
    """Say early what is not installed.

    Raises:
        UserError: it names the package.
    """
    for name in ("paddle2onnx", "onnxruntime"):
        if sys.modules.get(name, ...) is None or not _findable(name):
            raise UserError(f"oarlock export needs {name}, which is not installed.\npip install 'oarlock[export]'")


def _findable(name: str) -> bool:
    from importlib.util import find_spec

    return name in sys.modules or find_spec(name) is not None


def _complaint(text: str) -> str:
    """What paddle2onnx says when it gives up, without its marks."""
    lines = [line for line in text.splitlines() if "Paddle2ONNX" in line or "pd_op" in line or "Error" in line]
    return " ".join(line.replace("[Paddle2ONNX]", "").replace("[ERROR]", "").strip() for line in lines)[-300:]


def _name_outputs(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    import onnx

    model = onnx.load(path)
    given = [one.name for one in model.graph.output]
    if len(set(given)) != len(outputs) or set(given) & {one.name for one in inputs}:
        raise NotExportable(f"export: of the predictions {', '.join(one.name for one in outputs)} two are the same "
                            "tensor, or one is an input.\nHave compute_predictions give each once.")  # fmt: skip
    renamed = dict(zip(given, (one.name for one in outputs), strict=True))
    _rename(model.graph, renamed)
    for value, spec in zip(model.graph.output, outputs, strict=True):
        value.name = spec.name
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    """Give tensors other names, in the graphs inside of operators too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, renamed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Paddle's C++ prints off the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, original in zip((1, 2), kept, strict=True):
            os.dup2(original, number)
            os.close(original)
        os.close(nowhere)
