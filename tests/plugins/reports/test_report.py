"""`oarlock report`: what stands in the table, in JSON and in CSV, against figures that are known."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from oarlock import UserError
from oarlock_plugins.reports.collect import collect
from oarlock_plugins.reports.output import as_csv, as_json, as_text, chosen_columns
from oarlock_plugins.reports.rows import make_rows
from tests.conftest import command, environment
from tests.plugins.reports.conftest import write_run

RATES = {"optimizer.learning_rate": "0.1,0.01", "optimizer": "sgd,adam"}


def table(folder, *filters, sort=None, columns=None, everything=False):
    found = collect(folder)
    rows = make_rows(found, filters, sort)
    return as_text(found, rows, chosen_columns(found, columns, everything), sort, terminal=False)


def objects(folder, *filters, sort=None):
    found = collect(folder)
    return json.loads(as_json(found, make_rows(found, filters, sort), everything=False))


@pytest.fixture
def grid(sweep):
    """Four trials, the third failed."""
    made = sweep("grid", RATES)
    for number, (rate, optimizer, accuracy) in enumerate(
        [(0.1, "sgd", 0.7), (0.01, "sgd", 0.9), (0.1, "adam", None), (0.01, "adam", 0.8)]
    ):
        values = {"optimizer.learning_rate": rate, "optimizer": optimizer}
        if accuracy is None:
            made.add(number, values, status="failed", error="the loss of step 2 is nan")
        else:
            made.add(number, values, {"valid/accuracy": accuracy, "test/accuracy": accuracy - 0.1, "valid/loss": 1 - accuracy},
                     seconds=number + 1.0)  # fmt: skip
    return made.close()


def test_best_first_and_failures_below_with_their_log(grid):
    lines = table(grid).splitlines()
    assert lines[0].endswith("grid: 4 runs: 3 completed, 1 failed; best first by valid/accuracy (max)")
    assert lines[1].split() == ["optimizer.learning_rate", "optimizer", "valid/accuracy", "test/accuracy", "epochs",
                                "seconds", "status", "folder"]  # fmt: skip
    assert [line.split()[:4] for line in lines[2:5]] == [
        ["0.01", "sgd", "0.9000", "0.8000"], ["0.01", "adam", "0.8000", "0.7000"], ["0.1", "sgd", "0.7000", "0.6000"]
    ]  # fmt: skip
    assert lines[5] == f"failed: {grid}/2: the loss of step 2 is nan; log: {grid}/logs/2.txt"
    assert lines[6:] == [f"best run: {grid}/1", "repeat it: oarlock train optimizer.learning_rate=0.01 optimizer=sgd"]


def test_json_has_what_each_trial_was_and_what_became_of_it(grid):
    report = objects(grid)
    assert [one["folder"] for one in report["trials"]] == [f"{grid}/{number}" for number in (1, 3, 0, 2)]
    for one in report["trials"]:
        assert {"status", "overrides", "metrics", "folder", "error"} <= set(one)
    failed = report["trials"][-1]
    assert (failed["status"], failed["error"], failed["metrics"]) == ("failed", "the loss of step 2 is nan", {})
    assert failed["overrides"] == ["optimizer.learning_rate=0.1", "optimizer=adam"]
    assert report["objectives"] == [["valid/accuracy", "max"]]


def test_seeds_are_one_row_of_mean_and_deviation(sweep):
    made = sweep("seeds", {"optimizer.learning_rate": "0.1,0.01"})
    values = {0.1: [0.5, 0.7, 0.95], 0.01: [0.8, 0.82, 0.85]}
    number = 0
    for point, (rate, found) in enumerate(values.items()):
        for seed, accuracy in enumerate(found):
            made.add(number, {"optimizer.learning_rate": rate}, {"valid/accuracy": accuracy}, point=point,
                     extra=[f"seed={seed}"])  # fmt: skip
            number += 1
    folder = made.close()
    rows = make_rows(collect(folder), [], None)
    assert [row.value("optimizer.learning_rate") for row in rows] == [0.01, 0.1]
    for row, found in zip(rows, (values[0.01], values[0.1]), strict=True):
        assert row.measure("valid/accuracy") == pytest.approx((np.mean(found), np.std(found, ddof=1)))
    assert "0.8233 ± 0.0252" in table(folder)
    # Its mean is 0.717: a filter on what was measured keeps no single lucky seed.
    assert len(make_rows(collect(folder), ["valid/accuracy>0.75"], None)) == 1


def test_the_front_is_what_no_other_point_dominates(sweep):
    made = sweep("front", {"optimizer.learning_rate": "…"}, objectives=[("valid/accuracy", "max"), ("seconds", "min")])
    generator = np.random.default_rng(0)
    found = np.column_stack([generator.uniform(size=30), generator.uniform(1, 9, size=30)])
    for number, (accuracy, seconds) in enumerate(found):
        made.add(number, {"optimizer.learning_rate": number + 1}, {"valid/accuracy": accuracy}, seconds=seconds)
    rows = make_rows(collect(made.close()), [], None)
    expected = {number for number, (accuracy, seconds) in enumerate(found)
                if not np.any((found[:, 0] >= accuracy) & (found[:, 1] <= seconds)
                              & ((found[:, 0] > accuracy) | (found[:, 1] < seconds)))}  # fmt: skip
    assert {row.best.trial.number for row in rows if row.on_front} == expected
    assert all(row.on_front for row in rows[: len(expected)])


@pytest.mark.parametrize(
    ("test", "numbers"),
    [
        ("optimizer=adam", [3, 2]),
        ("optimizer!=adam", [1, 0]),
        ("valid/accuracy>0.8", [1]),
        ("valid/accuracy>=0.8", [1, 3]),
        ("optimizer.learning_rate=1e-2", [1, 3]),
        ("optimizer.learning_rate<0.05", [1, 3]),
        ("status=failed", [2]),
        ("seconds<=2", [1, 0, 2]),
    ],
)
def test_filter(grid, test, numbers):
    assert [row.best.trial.number for row in make_rows(collect(grid), [test], None)] == numbers


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        ("valid/loss", [1, 3, 0, 2]),
        ("test/accuracy", [1, 3, 0, 2]),
        ("optimizer", [3, 2, 1, 0]),
        ("seconds", [0, 2, 1, 3]),
    ],
)
def test_sort_by_a_metric_is_best_first_and_by_another_column_smallest_first(grid, column, numbers):
    assert [row.best.trial.number for row in make_rows(collect(grid), [], column)] == numbers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sort": "valid/acuracy"}, ["--sort valid/acuracy", "Did you mean 'valid/accuracy'?"]),
        ({"columns": "optimizer,learning_rat"}, ["--columns learning_rat", "Did you mean 'optimizer.learning_rate'?"]),
        ({"filters": ["optimzer=sgd"]}, ["--filter optimzer", "Did you mean 'optimizer'?"]),
        ({"filters": ["optimizer"]}, ["--filter optimizer: expected a column, a comparison and a value"]),
        ({"filters": ["optimizer>sgd"]}, ["expected a number after '>', not 'sgd'"]),
        ({"filters": ["valid/accuracy>" + "1" * 400]}, ["expected a number after '>', not '11"]),
    ],
)
def test_what_was_mistyped_is_named_with_the_nearest(grid, options, said):
    filters = options.pop("filters", [])
    with pytest.raises(UserError) as error:
        table(grid, *filters, **options)
    assert all(text in str(error.value) for text in said)
    assert len(str(error.value).splitlines()) <= 3


def test_columns(grid):
    assert table(grid, columns="optimizer, valid/loss").splitlines()[1].split() == ["optimizer", "valid/loss"]
    head = table(grid, everything=True).splitlines()[1].split()
    assert {"valid/accuracy", "valid/loss", "test/accuracy", "folder"} < set(head)


def test_csv_gives_back_what_was_written(sweep):
    made = sweep("text", {"note": "…"})
    notes = ['a "quoted", one', "two\nlines", "plain"]
    for number, note in enumerate(notes):
        made.add(number, {"note": note}, {"valid/accuracy": 1 / (number + 3)})
    found = collect(made.close())
    read = list(csv.DictReader(io.StringIO(as_csv(make_rows(found, [], None), chosen_columns(found, None, True)))))
    assert [row["note"] for row in read] == notes
    assert [float(row["valid/accuracy"]) for row in read] == [1 / 3, 1 / 4, 1 / 5]


def test_a_torn_ledger_and_an_unreadable_record_are_named(grid):
    ledger = grid / "ledger.jsonl"
    content = ledger.read_bytes()
    ledger.write_bytes(content[:-20])  # the end of trial 3, which its own folder still knows
    (grid / "0" / "run.json").write_text("{")
    (grid / "1" / "config.yaml").write_text("a: [")
    report = objects(grid)
    assert [one["status"] for one in report["trials"]] == ["completed"] * 3 + ["failed"]
    problems = "\n".join(report["problems"])
    assert f"{ledger}: 1 damaged line left out" in problems
    assert f"{grid}/0: its run.json or metrics.jsonl cannot be read" in problems
    assert f"{grid}/1/config.yaml cannot be read" in problems
    assert f"damaged: {ledger}" in table(grid)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"status": 1}', '{"best": 3, "status": "completed"}'])
def test_json_that_is_no_record_is_named(tmp_path, content):
    write_run(tmp_path / "good", {"valid/accuracy": 0.5})
    write_run(tmp_path / "bad", {"valid/accuracy": 0.6})
    (tmp_path / "bad" / "run.json").write_text(content)
    report = objects(tmp_path)
    assert [one["folder"] for one in report["trials"]] == [str(tmp_path / "good")]
    assert "bad: its run.json" in report["problems"][0]


def test_a_sweep_in_progress(sweep):
    made = sweep("going", RATES)
    made.add(0, {"optimizer.learning_rate": 0.1}, {"valid/accuracy": 0.6})
    made.add(1, {"optimizer.learning_rate": 0.01}, {"valid/accuracy": 0.9}, status="running")
    made.add(2, {"optimizer.learning_rate": 0.001}, status="waiting")
    report = objects(made.folder)  # its ledger is still held
    assert [one["status"] for one in report["trials"]] == ["completed", "running", "waiting"]
    assert report["trials"][1]["metrics"] == {"valid/accuracy": 0.9}
    assert [one["folders"] for one in report["ranking"]] == [[f"{made.folder}/0"]]
    made.close()


def test_runs_and_sweeps_to_which_links_lead_are_there_once(sweep, tmp_path):
    made = sweep("elsewhere/sweep", RATES)
    made.add(0, {"optimizer.learning_rate": 0.1}, {"valid/accuracy": 0.6})
    made.close()
    write_run(tmp_path / "elsewhere" / "alone", {"valid/accuracy": 0.9})
    write_run(tmp_path / "runs" / "here", {"valid/accuracy": 0.8})
    for name, target in [("sweep", "../elsewhere/sweep"), ("a", "../elsewhere/alone"), ("b", "../elsewhere/alone"),
                         ("a-latest", "here"), ("best", "sweep/0"), ("circle", "."), ("gone", "nowhere")]:  # fmt: skip
        (tmp_path / "runs" / name).symlink_to(target)
    found = [Path(one["folder"]).relative_to(tmp_path / "runs") for one in objects(tmp_path / "runs")["trials"]]
    assert sorted(map(str, found)) == ["a", "here", "sweep/0"]


def test_trials_that_somebody_went_on_with_are_what_their_folders_say(sweep):
    made = sweep("resumed", RATES)
    made.add(0, {"optimizer.learning_rate": 0.1}, {"valid/accuracy": 0.6, "test/accuracy": 0.5})
    made.add(1, {"optimizer.learning_rate": 0.01}, {"valid/accuracy": 0.7}, status="failed", error="flaky")
    made.add(2, {"optimizer.learning_rate": 0.001}, {"valid/accuracy": 0.8})
    folder = made.close()
    shutil.rmtree(folder / "0")
    write_run(folder / "0", {"valid/accuracy": 0.9, "test/accuracy": 0.85}, epochs=20)
    shutil.rmtree(folder / "1")
    write_run(folder / "1", {"valid/accuracy": 0.75})
    report = objects(folder)
    assert [(one["means"]["valid/accuracy"], one["folders"]) for one in report["ranking"]] == [
        (0.9, [f"{folder}/0"]), (0.8, [f"{folder}/2"]), (0.75, [f"{folder}/1"])]  # fmt: skip
    shown = [
        (one["status"], one["error"], one["epochs"], one["metrics"].get("test/accuracy")) for one in report["trials"]
    ]
    assert shown == [("completed", "", 20, 0.85), ("completed", "", 3, None), ("completed", "", 3, None)]


def test_what_is_not_finite_is_null(sweep):
    made = sweep("nan", {"optimizer.learning_rate": "…"})
    made.add(0, {"optimizer.learning_rate": 0.1}, {"valid/accuracy": 0.6, "valid/loss": 1.0})
    folder = made.close()
    run = json.loads((folder / "0" / "run.json").read_text())
    (folder / "0" / "run.json").write_text(json.dumps(run | {"metrics": {"valid/loss": math.nan}}))
    write_run(folder / "alone", {"valid/accuracy": math.nan, "valid/loss": math.inf})
    found = collect(folder)
    text = as_json(found, make_rows(found, [], None), everything=True)

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(text, parse_constant=refuse)["trials"]


def test_a_folder_of_many_runs_compares_what_they_monitor(tmp_path):
    for name, rate, accuracy in (("a/x", 0.1, 0.5), ("a/y", 0.2, 0.7), ("b", 0.3, 0.6)):
        write_run(tmp_path / name, {"valid/accuracy": accuracy},
                  f"optimizer:\n  learning_rate: {rate}\n  momentum: 0.9\n")  # fmt: skip
    found = collect(tmp_path)
    assert found.varied == ["optimizer.learning_rate"]
    rows = make_rows(found, [], None)
    assert [row.best.folder.relative_to(tmp_path).as_posix() for row in rows] == ["a/y", "b", "a/x"]
    assert rows[0].value("seconds") == 2.5


def test_sweeps_of_different_objectives_are_compared_by_one(sweep, tmp_path):
    """Also their trials that kept no folder."""
    losses = sweep("many/losses", RATES, objectives=[("valid/loss", "min")])
    for number, (accuracy, loss) in enumerate([(0.6, 2.0), (0.8, 1.0), (0.2, 5.0)]):
        losses.add(
            number, {"optimizer.learning_rate": 0.1 * (number + 1)}, {"valid/accuracy": accuracy, "valid/loss": loss}
        )
    for number in (1, 2):
        shutil.rmtree(losses.close() / str(number))
    accuracies = sweep("many/accuracies", RATES)
    accuracies.add(0, {"optimizer.learning_rate": 0.1}, {"valid/accuracy": 0.7, "valid/loss": 3.0})
    accuracies.close()
    report = objects(tmp_path / "many")
    assert report["objectives"] == [["valid/accuracy", "max"]]
    ranking = [(one["means"]["valid/accuracy"], Path(*Path(one["folders"][0]).parts[-2:])) for one in report["ranking"]]
    assert ranking == [
        (0.8, Path("losses/1")),
        (0.7, Path("accuracies/0")),
        (0.6, Path("losses/0")),
        (0.2, Path("losses/2")),
    ]


def test_no_run_is_a_mistake_of_the_user(tmp_path, ask):
    (tmp_path / "empty").mkdir()
    nothing, missing = ask({}, f"report {tmp_path}/empty", f"report {tmp_path}/missing")
    assert (nothing.code, missing.code) == (2, 2)
    assert "there is no run in this folder" in nothing.err
    assert "there is no such folder" in missing.err


def test_the_command(grid, ask):
    plain, data, lines, wrong = ask({}, f"report {grid}", f"report {grid} --json", f"report {grid} --csv",
                                    f"report {grid} --sort valid/acuracy")  # fmt: skip
    assert plain.out.splitlines()[-1] == f"report: {grid}/report.html"
    assert json.loads(data.out)["trials"]
    assert len(list(csv.reader(io.StringIO(lines.out)))) == 5
    assert (plain.code, data.code, lines.code, wrong.code) == (0, 0, 0, 2)
    assert not any(answer.paddle for answer in (plain, data, lines, wrong))
    assert (grid / "report.html").is_file()
    (grid / "report.html").unlink()
    (only,) = ask({}, f"report {grid} --json --html {grid}/other.html")
    assert json.loads(only.out)["trials"]
    assert sorted(path.name for path in grid.glob("*.html")) == ["other.html"]


def test_a_place_that_cannot_be_written(grid, ask):
    (answer,) = ask({}, f"report {grid} --html .")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "error: report: . cannot be written: Is a directory.",
        "Choose another place with --html FILE.",
    ]
    (answer,) = ask({}, f"report {grid} --html {grid}/ledger.jsonl/page.html")
    assert answer.code == 2
    assert "page.html cannot be written" in answer.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real sweep: two seeds of a learning rate, and of one that fails."""
    folder = tmp_path_factory.mktemp("trained")
    subprocess.run(command("train", "-m", "optimizer=sgd", "optimizer.learning_rate=0.1,1e30", "sweep.seeds=2",
                           "model.widths=[8]", "trainer.epochs=1", "hydra.sweep.dir=s"),
                   cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)  # fmt: skip
    return folder / "s"


def test_what_a_real_sweep_leaves_is_read(trained):
    report = objects(trained)
    assert report["problems"] == []
    assert [len(one["folders"]) for one in report["ranking"]] == [2]
    assert sorted(one["status"] for one in report["trials"]) == ["completed"] * 2 + ["failed"] * 2
    for one in report["ranking"]:
        recorded = [json.loads(Path(folder, "run.json").read_text())["best"]["value"] for folder in one["folders"]]
        assert one["means"]["valid/accuracy"] == pytest.approx(np.mean(recorded))
        assert one["deviations"]["valid/accuracy"] == pytest.approx(np.std(recorded, ddof=1))
    assert "±" in table(trained)
    single = objects(trained / "0")
    assert single["trials"][0]["overrides"] == report["trials"][
        [one["folder"] for one in report["trials"]].index(f"{trained}/0")]["overrides"]  # fmt: skip


TENTH = """
from oarlock import component, hookimpl

@component
class Tenth:
    '''A tenth of the rate.'''

    @hookimpl
    def build_schedule(self, learning_rate):
        return learning_rate / 10

@hookimpl
def register_components(register):
    register("schedule/tenth", Tenth)
"""


def test_trials_without_a_folder_are_filtered_and_repeated_like_those_with_one(tmp_path):
    (tmp_path / "tenths.py").write_text(TENTH)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "brief.yaml").write_text("# @package _global_\ntrainer: {epochs: 1}\n")
    flags = ["--config-dir", "conf", "-p", "tenths"]

    def run(*words):
        done = subprocess.run(command(*words), cwd=tmp_path, env=environment({"PYTHONPATH": str(tmp_path)}),
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr

    run("train", *flags, "-m", "experiment=brief", "schedule=tenth", "optimizer=sgd", "optimizer.learning_rate=0.01,0.1,1",
        "model.widths=[8]", "sweep.seeds=2", "sweep.keep=1", "hydra.sweep.dir=s")  # fmt: skip
    whole = objects(tmp_path / "s")
    assert len(whole["trials"]) == 6
    for same in (
        "data=digits",
        "schedule=tenth",
        "optimizer=sgd",
        "trainer.epochs=1",
        "model.widths=[8]",
        "data.split_seed=0",
    ):
        assert objects(tmp_path / "s", same) == whole
    left = objects(tmp_path / "s", "seed=1", "optimizer.learning_rate>0.05")["trials"]
    assert sorted(one["overrides"][-2:] for one in left) == [["optimizer.learning_rate=0.1", "seed=1"],
                                                             ["optimizer.learning_rate=1", "seed=1"]]  # fmt: skip
    bare = next(one for one in whole["trials"] if not Path(one["folder"]).exists())
    words = shlex.split(bare["command"])
    assert words[:6] == ["oarlock", "train", *flags]
    run(*words[1:], "hydra.run.dir=again")
    assert objects(tmp_path / "again")["trials"][0]["metrics"] == bare["metrics"]


def test_of_components_that_vary_those_without_a_folder_have_what_others_with_the_same_have(sweep):
    base = {"seed": 0, "data": {"split_seed": 3}, "optimizer": {"learning_rate": 0.1, "momentum": 0.5}}
    made = sweep("bare", {"optimizer": "sgd,adam,lamb", "optimizer.learning_rate": "0.1,0.2"}, base=base)
    number = 0
    for optimizer in ("sgd", "adam", "lamb"):
        for rate in (0.1, 0.2):
            made.add(
                number,
                {"optimizer": optimizer, "optimizer.learning_rate": rate},
                {"valid/accuracy": 0.5 + number / 100},
            )
            number += 1
    folder = made.close()
    for bare in (1, 2, 4, 5):
        shutil.rmtree(folder / str(bare))
    config = (folder / "3" / "config.yaml").read_text()
    (folder / "3" / "config.yaml").write_text(json.dumps({**json.loads(config), "seed": 0, "data": base["data"]}))

    def numbers(*filters):
        return sorted(row.best.trial.number for row in make_rows(collect(folder), filters, None))

    assert numbers("data.split_seed=3") == [1, 2, 3, 4, 5]  # 0 has a folder, and that says nothing of data
    assert numbers("optimizer=adam") == [2, 3]
    assert numbers("optimizer.learning_rate=0.2") == [1, 3, 5]


def test_numbers_of_folders_of_a_basic_sweep(tmp_path):
    for number in range(12):
        write_run(tmp_path / str(number), {"valid/accuracy": 0.5}, f"seed: {number}\n")
    assert [run.folder.name for run in collect(tmp_path).runs] == [str(number) for number in range(12)]


def test_the_command_that_repeats_a_run_names_no_folder_that_is_taken(tmp_path):
    write_run(tmp_path / "a", {"valid/accuracy": 0.5},
              command=["oarlock", "train", f"hydra.run.dir={tmp_path}/a", "optimizer=sgd"])  # fmt: skip
    assert table(tmp_path / "a").splitlines()[-1] == "repeat it: oarlock train optimizer=sgd"


def test_no_column_is_a_mistake_of_the_user(grid):
    with pytest.raises(UserError, match="--columns: expected names"):
        table(grid, columns="")
