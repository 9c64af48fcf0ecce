"""From a run to the files of a bundle."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from oarlock import UserError, load_run, shown_path
from oarlock_plugins.service.bundle import BUNDLE, PADDLE, REFERENCE, RUN, Bundle
from oarlock_plugins.service.engines import KINDS, open_engine
from oarlock_plugins.service.export import parity
from oarlock_plugins.service.export.answering import Answers
from oarlock_plugins.service.export.formats import require_converter, write_onnx, write_paddle
from oarlock_plugins.service.export.lengths import of_any_length, other_lengths
from oarlock_plugins.service.export.recorded import copy_run, metrics_of, read_record
from oarlock_plugins.service.export.rows import real_rows

REFERENCE_ROWS = 8
# Rounding differs between devices; what is served must agree with what a CPU computes in full precision.
ON_CPU = ("device=cpu", "trainer.precision=fp32")


def write_bundle(source: Path, folder: Path, tolerance: float) -> Bundle:
    """Export a run's best weights into a folder, which is to be sealed.

    Args:
        source: the run.
        folder: an empty one.
        tolerance: how far an engine may be off the trained model, absolute and relative.

    Raises:
        NotExportable: the exported model would answer otherwise than the trained one.
        UserError: it is no run, or a package is missing.
    """
    require_converter()
    state = copy_run(source, folder / RUN)
    try:
        # The copy, so that what is exported is what the bundle's run holds, though the run may be training on.
        run = load_run(folder / RUN, ON_CPU)
    except UserError as error:
        raise UserError(str(error).replace(str(folder / RUN), shown_path(source))) from error
    rows = real_rows(run, parity.ROWS)
    answers = Answers(run, rows)
    expected = parity.expected_answers(answers, rows, tolerance)
    others = other_lengths(answers, rows, tolerance)
    (folder / PADDLE).mkdir()
    write_paddle(answers, folder, rows.single)
    write_onnx(folder, answers.inputs, answers.outputs)
    record = read_record(folder / RUN)
    names = run.data.class_names
    bundle = Bundle(
        path=folder, inputs=answers.inputs, outputs=of_any_length(answers.outputs, others),
        class_names=tuple(map(str, names)) if names is not None else None,
        columns=tuple(run.data.columns) if run.data.columns is not None else None,
        metrics=metrics_of(folder / RUN, state), monitor=run.monitor, direction=run.direction,
        tolerance=tolerance, parity={}, components=record["components"],
        versions=record["versions"] | {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "paddle2onnx")},
        created=round(time.time(), 3),
    )  # fmt: skip
    engines = {kind: open_engine(bundle, kind) for kind in KINDS}
    differences = {
        kind: max(parity.check_parity(kind, engine, *checked, tolerance) for checked in [(rows, expected), *others])
        for kind, engine in engines.items()
    }
    bundle = replace(bundle, parity={**differences, "rows": float(len(rows))})
    _write_reference(bundle, rows.inputs, expected)
    (folder / BUNDLE).write_text(bundle.text(), encoding="utf-8")
    return bundle


def _write_reference(bundle: Bundle, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """A few of the rows with their answers; none whose class hangs on rounding, since it is compared exactly."""
    import safetensors.numpy

    clear = [row for row in range(len(next(iter(inputs.values())))) if not _hangs(expected, row, bundle.tolerance)]
    chosen = np.array(clear or [0])[np.unique(np.linspace(0, max(len(clear) - 1, 0), REFERENCE_ROWS).astype(int))]
    arrays = {f"input/{name}": array[chosen] for name, array in inputs.items()}
    arrays |= {f"output/{name}": array[chosen] for name, array in expected.items()}
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()},
                                bundle.path / REFERENCE)  # fmt: skip
    (bundle.path / REFERENCE).chmod(0o644)  # safetensors makes it for its writer alone


def _hangs(expected: Mapping[str, np.ndarray], row: int, tolerance: float) -> bool:
    """Whether the two best scores of a row are so close that another engine may choose the other."""
    for choice in expected.values():
        for scores in expected.values():
            if np.issubdtype(choice.dtype, np.integer) and scores.shape[:-1] == choice.shape and scores.shape[-1] > 1:
                best = np.sort(scores[row], -1)
                if (best[..., -1] - best[..., -2] <= 4 * tolerance * (1 + np.abs(best[..., -1]))).any():
                    return True
    return False
