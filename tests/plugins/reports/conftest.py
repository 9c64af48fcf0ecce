"""Sweeps that nobody trained: folders with the files that a sweep leaves, and figures that are known."""

from __future__ import annotations

import json

import pytest

from oarlock_plugins.sweeps.ledger import Ledger

DIRECTIONS = {"train/loss": "min", "valid/loss": "min", "valid/accuracy": "max", "test/accuracy": "max"}


def write_run(folder, metrics, config="optimizer:\n  learning_rate: 0.1\n", status="completed", optimizer="sgd",
              reason="", epochs=3, command=("oarlock", "train", "optimizer=sgd")):  # fmt: skip
    """The folder of a run whose metrics rise to `metrics` in its last epoch."""
    folder.mkdir(parents=True)
    record = {
        "status": status, "reason": reason, "seed": 0, "monitor": "valid/accuracy", "direction": "max",
        "directions": DIRECTIONS, "components": {"optimizer": {"component": f"optimizer/{optimizer}"}},
        "command": list(command), "times": {"created": 100.0, "started": 100.0, "ended": 102.5}, "metrics": metrics,
        "best": {"step": 10 * epochs, "epoch": epochs, "monitor": "valid/accuracy",
                 "value": metrics["valid/accuracy"]} if metrics else None,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(config)
    rows = [{"epoch": epoch, "step": 10 * epoch, "time": 0.0, **{name: value * epoch / epochs for name, value in
             metrics.items() if not name.startswith("test/")}} for epoch in range(1, epochs + 1)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "train.log").write_text("epoch 1\n")


class Sweep:
    """A sweep's folder, trial by trial."""

    def __init__(self, folder, space, objectives=(("valid/accuracy", "max"),), base=None):
        folder.mkdir(parents=True)
        self.folder, self.ledger = folder, Ledger(folder)
        self.objectives = [list(one) for one in objectives]
        self.ledger.write("sweep", format=1, space=space, fixed=[], sampler="grid", seeds=1, objective=[],
                          base=base or {})  # fmt: skip
        self.ledger.write("objectives", objectives=self.objectives)

    def add(self, number, values, metrics=None, status="completed", error="", point=None, extra=(), seconds=1.0):
        overrides = [*(f"{key}={value}" for key, value in values.items()), *extra]
        self.ledger.write("trial", number=number, point=number if point is None else point,
                          values={key: str(value) for key, value in values.items()}, params=values, extra=list(extra),
                          overrides=overrides, folder=str(number))  # fmt: skip
        if status == "waiting":
            return
        self.ledger.write("attempt", number=number, attempt=1, time=0.0)
        rate = values.get("optimizer.learning_rate")
        config = json.dumps({"optimizer": {"learning_rate": rate}} if rate is not None else {})  # JSON is YAML
        write_run(self.folder / str(number), metrics or {}, config, status, values.get("optimizer", "sgd"), error,
                  command=["oarlock", "train", *overrides])  # fmt: skip
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        (logs / f"{number}.txt").write_text(error)
        if status == "running":
            return
        measured = {**(metrics or {}), "seconds": seconds}
        objective = [measured[name] for name, _ in self.objectives] if metrics else None
        self.ledger.write("end", number=number, attempt=1, status=status, error=error, seconds=seconds,
                          metrics=metrics or {}, objective=objective, epochs=3 if metrics else 0)  # fmt: skip

    def close(self):
        self.ledger.close()
        return self.folder


@pytest.fixture
def sweep(tmp_path):
    """Begin a sweep in `tmp_path`: `sweep("name", space)`."""
    return lambda name, space, **options: Sweep(tmp_path / name, space, **options)
