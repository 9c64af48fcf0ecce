"""oarlock: `oarlock.train` with progress, early stopping that never stops, and default checkpoints.

Progress prints plain lines, since the output is no terminal. Turns are too short to meet the clock that asks for a
checkpoint every 60 seconds, so the one at the end of the run is timed; the benchmark charges it in proportion.
"""

from __future__ import annotations

import os
import sys
import warnings

import spec as specs

import oarlock


def main(variant, spec):
    engine = ["trainer.engine=eager"] if variant == "oarlock-eager" else []
    oarlock.train([
        *spec.overrides, *engine, "callback=[progress,early_stopping,turns]", "callback.early_stopping.patience=1000000",
        "device=cpu", f"trainer.batch_size={spec.batch_size}", "trainer.drop_last=true", "trainer.epochs=1000000",
        f"trainer.evaluation_batch_size={specs.EVALUATION_BATCH}", f"hydra.run.dir={spec.folder}/run-{os.getpid()}",
    ])  # fmt: skip


if __name__ == "__main__":
    # Paddle warns of its own internals; oarlock keeps that from its users.
    warnings.simplefilter("ignore")
    os.environ["OARLOCK_PLUGINS"] = "oarlock_bench"
    main(sys.argv[1], specs.read(sys.argv[2]))
