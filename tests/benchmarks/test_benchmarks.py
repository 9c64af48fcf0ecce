"""The benchmarks' own parts: turns, specs, the page; none of them times anything."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The benchmarks are scripts: their folder is on the path where they run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_the_page_is_what_the_kept_figures_say():
    checked = [sys.executable, str(BENCHMARKS / "page.py"), "--check"]
    done = subprocess.run(checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_turn_ends_with_an_epoch_after_its_seconds(monkeypatch):
    import turns

    report, its = os.pipe()
    monkeypatch.setattr(sys, "stdin", io.StringIO("0\n1000\nend\n"))
    turn = turns.Turn(its)
    assert not turn.epoch_ended(0.5)
    assert not turn.epoch_ended(0.6)
    assert not turn.epoch_ended(0.7)  # 1,000 seconds are not over
    turn._seconds = 0.0
    assert turn.epoch_ended(0.8)
    turn.training_ended(save=0.25)
    with os.fdopen(report) as lines:
        os.close(its)
        first, second, third, last = map(json.loads, lines)
    assert [first["epochs"], second["epochs"], third["epochs"]] == [1, 1, 2]
    assert last == {"accuracy": 0.8, "save": 0.25}


def test_accuracy_is_that_of_the_same_epoch_for_all(monkeypatch):
    import turns

    monkeypatch.setenv(turns.VARIABLE, "- 7")
    turn = turns.turn()
    assert [turn.epoch_ended(epoch / 10) for epoch in range(1, 8)] == [False] * 6 + [True]
    assert turn.accuracy == turns.ACCURACY_EPOCH / 10


def test_a_spec_is_read_as_it_was_written(tmp_path):
    import spec

    written = spec.Spec({"kind": "mlp", "sizes": [4, 3, 2]}, "adam", 8, ["data=digits"], "rows.npz", 2, "there")
    written.write(tmp_path / "spec.json")
    assert spec.read(str(tmp_path / "spec.json")) == written


TRAINER = """
import sys, time, turns
turn, last = turns.turn(), {last}
epochs = 0
while not turn.epoch_ended(0.5):
    time.sleep({seconds})
    epochs += 1
    if epochs == last:
        sys.exit("out of luck")
turn.training_ended()
"""


def test_a_round_compares_those_who_train_and_names_those_who_do_not(monkeypatch, tmp_path):
    import environments
    import spec
    import trainers

    for name, seconds, last in (("mine", 0.01, 0), ("slow", 0.03, 0), ("dies", 0.01, 4)):
        script = tmp_path / f"{name}.py"
        script.write_text(TRAINER.format(seconds=seconds, last=last))
        monkeypatch.setitem(trainers.PEER, name, trainers.Peer(str(script), environments.OWN, name))
    monkeypatch.setitem(trainers.PEER, "nowhere", trainers.Peer("x.py", "nowhere", "nowhere"))
    monkeypatch.setitem(environments.REQUIREMENTS, "nowhere", (str(tmp_path / "nothing.whl"),))
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    told = spec.Spec({"kind": "mlp", "sizes": [1, 1]}, "adam", 1)
    results, missing = trainers.run_round(["slow", "dies", "nowhere"], told, tmp_path, 1, 3, 0.02, reference="mine")
    assert set(results) == {"mine", "slow"}
    assert results["slow"]["epoch"] > 0.03
    assert results["slow"]["ratio"] > 1.5
    assert "out of luck" in missing["dies"]
    assert "nothing.whl" in missing["nowhere"]


def test_an_environment_that_cannot_be_made_says_why(monkeypatch, tmp_path):
    import environments

    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setitem(environments.REQUIREMENTS, "broken", (str(tmp_path / "no-such-package.whl"),))
    with pytest.raises(environments.Missing, match=r"cannot be made: .*no-such-package\.whl"):
        environments.python("broken")


def test_points_are_as_many_as_the_trials():
    import sweeping

    for trials in (1, 2, 8, 32, 1024):
        rates, seeds = sweeping.points(trials)
        assert len(set(rates)) * seeds == trials


def test_a_bar_that_is_missed_is_shown_as_missed():
    import page

    def summary(median):
        return {"median": median, "low": median - 0.01, "high": median + 0.01}

    records = dict.fromkeys(page.PARTS)
    records["callbacks"] = {
        "date": "2026-01-01", "processor": "one", "cores": 2, "python": "3.11", "versions": {"oarlock": "1"},
        "commit": "abc", "bar": 1.02,
        "rounds": 3, "barred": ["ten count"], "beyond": summary(1.0),
        "figures": {
            "ten count": {
                "microseconds_per_step": summary(20.0), "ratio": summary(1.025), "ratio_of_medians": summary(1.025)
            }
        },
    }  # fmt: skip
    text = page.page(records)
    assert "callbacks, ten count: step × without | 1.025 (1.015 to 1.035) | ≤ 1.02 | **missed** |" in text
