"""The command line: which command, what it prints and where, which exit code; sweeps from beginning to end."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import oarlock as package
import oarlock_conf
from oarlock import preflight
from oarlock.cli import main
from tests.conftest import command, environment

# The smallest job that trains: two steps of a model with four hidden units.
JOB = ["trainer.max_steps=2", "model.widths=[4]", "callback=[]"]
GLOBAL = "# @package _global_\n"
# Hydra's own sweeper and launcher, which oarlock's replace by default: tests/plugins/sweeps is about those.
BASIC = ["hydra/sweeper=basic", "hydra/launcher=basic"]


def run(*arguments):
    """The exit code, stdout and stderr of `oarlock` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(map(str, arguments)))
    return int(code), out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


# --- commands and flags


def test_version():
    assert run("--version") == (0, f"oarlock {metadata.version('oarlock')}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_no_command_says_what_there_is(arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    for name in ("train", "check", "resume", "evaluate", "plugins", "show", "completion"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "oarlock trian: there is no such command. Did you mean 'train'?"),
        (["--cfg"], "oarlock --cfg: there is no such command."),
        (["train", "--multi"], "unrecognized arguments: --multi. Did you mean '--multirun'?"),
        (
            ["export", "run", "--to", "x", "-p", "mine"],
            "oarlock export: -p: what chooses plugins stands before this command: oarlock -p … export …",
        ),
        (["train", "--experimental-rerun", "x.pickle"], "unrecognized arguments: --experimental-rerun"),
        (["train", "--config-path", "x"], "Did you mean '--config-dir'?"),
        (["train", "--config-name=x"], "unrecognized arguments: --config-name=x"),
        (["train", "--cfg", "jbo"], "invalid choice: 'jbo'"),
        (["train", "--cfg"], "argument -c/--cfg: expected one argument"),
        (["resume"], "the following arguments are required: folder.\n"),
        (["evaluate"], "the following arguments are required: folder.\n"),
        (["resume", "nowhere"], "nowhere: not a run's folder"),
        (["evaluate", "nowhere"], "nowhere: not a run's folder"),
        (["show", "optimizer/adma"], "Did you mean 'adam'?"),
        (["show", "experiment/seed_mnits"], "Did you mean 'seed_mnist'?"),
        (["completion", "csh"], "invalid choice: 'csh'"),
    ],
)
def test_a_wrong_command_or_flag(arguments, said):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) <= 4


@pytest.mark.parametrize("columns", ["1", "6", "0", "-3", "wide"])
def test_a_terminal_of_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for words in (["show", "optimizer/adam"], ["plugins"], ["train", "--help"]):
        assert run(*words)[::2] == (0, "")


def test_help_of_train_shows_what_can_be_typed():
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "optimizer.learning_rate=0.1" in out
    assert re.search(r"\n  optimizer +adagrad, adam\*, adamw, lamb, momentum, rmsprop, sgd\n", out)
    assert re.search(
        r"\n  callback +early_stopping\*, ema, frozen_batch_norm, mlflow, progress\*,\n +tensorboard, visualdl\n", out
    )
    assert re.search(r"\n  experiment +seed_mnist\n", out)
    assert "\n  trainer.epochs=20 " in out
    assert "exit codes: 0 done" in out


@pytest.mark.parametrize("shown", ["job", "hydra", "all"])
@pytest.mark.parametrize("flag", ["--cfg", "-c"])
def test_the_configuration_is_printed_and_nothing_is_run(here, flag, shown):
    code, out, err = run("train", flag, shown, "seed=3", "hydra.job.name=x")
    assert (code, err) == (0, "")
    printed = yaml.safe_load(out)
    assert ("hydra" in printed) == (shown != "job")
    assert ("optimizer" in printed) == (shown != "hydra")
    assert shown == "hydra" or printed["seed"] == 3
    assert shown == "job" or printed["hydra"]["job"]["name"] == "x"
    assert not list(here.iterdir())


def test_references_are_printed_as_they_are_or_resolved():
    assert "seed: ${trainer.epochs}\n" in run("train", "-c", "job", "seed=${trainer.epochs}")[1]
    assert "seed: 20\n" in run("train", "-c", "job", "--resolve", "seed=${trainer.epochs}")[1]


def test_the_traceback_is_shown_on_request(monkeypatch):
    assert "Traceback" not in run("train", "optimizer.lr=3")[2]
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, err = run("train", "optimizer.lr=3")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert err.rstrip().endswith("Did you mean 'learning_rate'?")


def test_a_reader_that_leaves_is_no_failure():
    child = subprocess.Popen(
        command("train", "--help"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 0
    assert errors == b""


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_lead_nowhere(here, closed):
    words = shlex.join(command("train", *JOB[:2], "hydra.run.dir=mine"))
    assert subprocess.run(f"{words} {closed}", shell=True, env=environment(), timeout=60).returncode == 0
    assert json.loads((here / "mine" / "run.json").read_text())["status"] == "completed"


def test_what_an_encoding_does_not_have_is_written_as_an_escape():
    done = subprocess.run(command("train", "--help"), env=environment({"PYTHONIOENCODING": "latin-1"}), timeout=60,
                          capture_output=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout


# --- one run


def test_a_run_says_how_it_ended_and_where_it_is(here):
    code, out, err = run("train", *JOB, "hydra.run.dir=mine")
    assert (code, err) == (0, "")
    assert "completed after 2 steps" in out
    assert "run: mine\n" in out
    assert "next: oarlock evaluate mine\n" in out
    assert json.loads((here / "mine" / "run.json").read_text())["status"] == "completed"


def test_an_experiment_is_shown_as_its_file():
    code, out, _ = run("show", "experiment")
    assert (code, out.splitlines()[1:]) == (0, ["  seed_mnist"])
    _, shown, _ = run("show", "experiment=seed_mnist")
    assert yaml.safe_load(shown)["defaults"][0] == {"override /data": "mnist"}


def test_what_it_says_to_type_next_can_be_typed(here):
    words = ["train", *JOB, "hydra.run.dir='mine, with é=x'"]
    _, out, _ = run(*words)
    (line,) = [line for line in out.splitlines() if line.startswith("next: ")]
    assert run(*shlex.split(line)[2:])[0] == 0
    _, _, err = run(*words)
    assert f"Continue it with '{shlex.join(['oarlock', 'resume', 'mine, with é=x'])}', or" in err


def test_a_folder_that_was_named_is_never_used_twice(here):
    assert run("train", *JOB, "hydra.run.dir=mine")[0] == 0
    before = (here / "mine" / "run.json").read_bytes()
    code, _, err = run("train", *JOB, "hydra.run.dir=mine")
    assert code == 2
    assert "mine exists already.\n" in err
    assert "oarlock resume mine" in err
    assert (here / "mine" / "run.json").read_bytes() == before


@pytest.mark.parametrize(("words", "key"), [([], "run"), (["-m", "seed=0,1"], "sweep")], ids=["run", "sweep"])
def test_a_folder_that_a_file_names_is_never_used_twice(here, words, key):
    (here / "conf" / "experiment").mkdir(parents=True)
    (here / "conf" / "experiment" / "named.yaml").write_text(f"{GLOBAL}hydra: {{{key}: {{dir: mine}}}}\n")
    job = ["train", "-cd", "conf", "experiment=named", *words, *JOB]
    assert run(*job)[0] == 0
    code, _, err = run(*job)
    assert code == 2
    assert f"mine exists already.\nContinue it with 'oarlock resume mine', or choose another hydra.{key}.dir." in err
    assert not (here / "mine-2").exists()


def test_runs_of_one_second_get_folders_of_their_own(here):
    # A clock that stands still.
    shutil.copytree(Path(oarlock_conf.__file__).parent, here / "still" / "oarlock_conf")
    shipped = here / "still" / "oarlock_conf" / "config.yaml"
    shipped.write_text(re.sub(r"dir: runs/.*", "dir: runs/12-00-00", shipped.read_text()))
    env = environment({"PYTHONPATH": str(here / "still")})
    children = [
        subprocess.Popen(command("train", *JOB, f"seed={seed}"), env=env, cwd=here, stdout=subprocess.DEVNULL)
        for seed in range(2)
    ]  # fmt: skip
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    records = {path.parent.name: json.loads(path.read_text()) for path in here.glob("runs/*/run.json")}
    assert set(records) == {"12-00-00", "12-00-00-2"}
    assert {record["seed"] for record in records.values()} == {0, 1}


def test_verbose_as_hydras_users_know_it():
    assert run("train", *JOB, "hydra.verbose=true", "hydra.run.dir=a")[0] == 0
    assert run("train", *JOB, "hydra.verbose=[oarlock]", "hydra.run.dir=b")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainer.monitor=valid/acuracy"], "Did you mean 'valid/accuracy'?"),
        (["data=mnist", "data.root=nowhere"], "data.root=nowhere"),
        (["trainer.batch_size=100000"], "needs 100000 rows"),
        (["hydra.run.dir=/proc/nowhere"], "the run's folder cannot be made"),
        (["trainer.precision=bf16", "device=cpu"], "mixed precision needs a GPU"),
    ],
)
def test_parts_that_do_not_fit_leave_nothing(here, arguments, said):
    code, _, err = run("train", *JOB, *arguments)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) <= 4
    assert not list(here.iterdir())


def test_what_paddle_raises_while_it_builds_is_short():
    # More than Paddle's int32 can say; oarlock cannot know every such bound.
    code, out, err = run("train", "trainer.max_steps=2", "model.widths=[4,1000000000000]", "callback=[]")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 2
    assert "Traceback" not in err
    assert re.search(r"raised at .*bn_mlp\.py:\d+; HYDRA_FULL_ERROR=1 shows the traceback", err)


# --- check


def test_check_trains_nothing(here):
    code, out, err = run("check", "model.widths=[4]")
    assert (code, err) == (0, "")
    assert "optimizer: optimizer/adam" in out
    assert "one step was made" in out
    assert not list(here.iterdir())


def test_check_lists_every_point_that_is_not_valid(here):
    code, out, _ = run("check", "-m", "model.widths=[4]", "task=classification,regression", "seed=0,-1")
    assert code == 2
    assert "1 of 4 points are valid" in out
    assert out.count("seed=-1: expected at least 0") == 2
    assert "task=regression seed=0\n" in out
    assert run("check", "-m", "model.widths=[4]", "seed=0,1")[:2] == (0, "2 of 2 points are valid\n")
    assert not list(here.iterdir())


def test_check_goes_on_after_a_point_that_raises(here):
    code, out, err = run("check", "-m", "model.widths=[4],[4,1000000000000],[8]")
    assert (code, err) == (2, "")
    lines = out.splitlines()
    assert lines[0] == "model.widths=[4,1000000000000]"
    assert re.search(r"raised at .*bn_mlp\.py:\d+$", lines[-2])
    assert lines[-1] == "2 of 3 points are valid"


def test_check_says_where_there_are_more_points_than_it_looks_at(monkeypatch):
    monkeypatch.setattr(preflight, "MOST_POINTS", 2)
    assert run("check", "-m", "model.widths=[4]", "seed=0,1,2")[:2] == (
        0, "2 of 2 points are valid; there are more than these 2\n")  # fmt: skip


def test_a_file_that_makes_a_sweep_is_one_for_check_and_none_for_python(here):
    (here / "conf" / "experiment").mkdir(parents=True)
    text = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {seed: '3,-1'}\n"
    (here / "conf" / "experiment" / "many.yaml").write_text(GLOBAL + text)
    code, out, _ = run("check", "-cd", "conf", "experiment=many", *BASIC, *JOB)
    assert (code, out.splitlines()[-1]) == (2, "1 of 2 points are valid")
    assert (
        run("check", "hydra.mode=MULTIRUN", "seed=5,-1", *BASIC, *JOB)[1].splitlines()[-1] == "1 of 2 points are valid"
    )
    for overrides in (["experiment=many", *BASIC], ["hydra.mode=MULTIRUN", "seed=5,6"]):
        with pytest.raises(package.UserError, match="a sweep is a command: oarlock train -m"):
            package.train([*overrides, *JOB], config_dir="conf")
    assert [path.name for path in here.iterdir()] == ["conf"]


NESTED = '''
from dataclasses import field
from oarlock import component, hookimpl

@component
class Inner:
    """Inside.

    Args:
        beta: a number.
    """
    beta: float = 0.9

@component
class Outer:
    """Has another.

    Args:
        inner: the other.
    """
    inner: Inner = field(default_factory=lambda: Inner(beta=0.5))

def configure(parser):
    commands = parser.add_subparsers(dest="what")
    commands.add_parser("row").add_argument("--times", type=int, default=1)

@hookimpl
def register_components(register):
    register("callback/outer", Outer)

@hookimpl
def register_commands(register):
    register("crew", help="Has commands of its own.", configure=configure, run=lambda args: print(args.what, args.times))
'''


def test_what_a_component_s_field_holds_is_shown_with_its_own_values(ask, plugin):
    shown, config, crew, helped = ask(plugin(NESTED), "show callback/outer", "train --cfg job callback=[outer]",
                                      "crew row --times 3", "crew --help")  # fmt: skip
    assert "callback.outer.inner.beta=0.5" in shown.out
    assert yaml.safe_load(config.out)["callback"]["outer"]["inner"]["beta"] == 0.5
    assert (crew.code, crew.out, crew.err) == (0, "row 3\n", "")
    assert (helped.code, helped.err) == (0, "")
    assert "{row}" in helped.out


# --- sweeps


def statuses(folder):
    return {path.parent.name: json.loads(path.read_text())["status"] for path in folder.glob("*/run.json")}


def test_a_sweep_ranks_its_runs(here):
    code, out, err = run("train", "-m", *BASIC, *JOB, "optimizer=sgd,adam", "optimizer.learning_rate=0.1,0.01")
    assert (code, err) == (0, "")
    (folder,) = here.glob("sweeps/*/*")
    assert statuses(folder) == dict.fromkeys("0123", "completed")
    ranked = [float(value) for value in re.findall(r"^valid/accuracy (\S+)  sweeps/", out, re.MULTILINE)]
    assert len(ranked) == 4
    assert ranked == sorted(ranked, reverse=True)
    assert out.endswith(f"sweep: {folder.relative_to(here)}, 4 finished, 0 failed\n")


def test_an_empty_folder_of_a_run_is_no_failed_job(here, plugin, oarlock):
    source = """
from oarlock import component, hookimpl

@component
class Samples:
    @hookimpl
    def on_run_start(self, run):
        (run.folder / "samples").mkdir()

@hookimpl
def register_components(register):
    register("callback/samples", Samples)
"""
    words = ["train", "-m", *BASIC, *JOB[:2], "callback=[samples]", "seed=0,1", "hydra.sweep.dir=s"]
    done = oarlock(*words, env=plugin(source))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("sweep: s, 2 finished, 0 failed\n")


def test_options_of_a_swept_component_are_known(here):
    overrides = ["optimizer=momentum,momentum", "optimizer.momentum=0.5", "hydra.sweep.dir=s", "trainer.max_steps=1"]
    assert run("train", "-m", *BASIC, *JOB, *overrides)[0] == 0
    configs = [yaml.safe_load(path.read_text()) for path in here.glob("s/*/config.yaml")]
    assert [config["optimizer"]["momentum"] for config in configs] == [0.5, 0.5]


FAILING = ["train", "-m", *BASIC, *JOB, "hydra.sweep.dir=s", "trainer.monitor=valid/loss,valid/acuracy,valid/accuracy"]


def assert_one_failed(here, code, out, err):
    assert code == 1, err
    assert statuses(here / "s") == {"0": "completed", "2": "completed"}
    assert "failed: s/1: " in out
    assert "Did you mean 'valid/accuracy'?" in out
    assert out.endswith("sweep: s, 2 finished, 1 failed\n")
    assert "Traceback" not in out + err


def test_a_job_that_fails_lets_the_others_finish(here):
    assert_one_failed(here, *run(*FAILING))


@pytest.mark.slow
def test_a_job_that_fails_beside_the_others(here):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    arguments = ["train", "-m", "hydra/sweeper=basic", *FAILING[4:], "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=120)
    assert_one_failed(here, done.returncode, done.stdout, done.stderr)


def test_a_run_that_diverges_is_listed(here):
    code, out, _ = run(
        "train", "-m", *BASIC, *JOB, "optimizer=sgd", "optimizer.learning_rate=1e30,0.1", "hydra.sweep.dir=s"
    )
    assert code == 1
    assert statuses(here / "s") == {"0": "failed", "1": "completed"}
    assert "failed: s/0: " in out
    assert "1 finished, 1 failed" in out


def test_jobs_of_one_name_get_folders_of_their_own(here):
    assert run("train", "-m", *BASIC, *JOB, "seed=0,1", "hydra.sweep.dir=s", "hydra.sweep.subdir=x")[0] == 0
    assert statuses(here / "s") == {"x": "completed", "x-2": "completed"}


def test_jobs_named_by_what_they_change(here):
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    code, out, _ = run("train", "-m", *BASIC, *JOB, "seed=0,1", "hydra.sweep.dir='a b'", subdir)
    assert code == 0
    names = [path.parent.name for path in here.glob("a b/*/run.json")]
    assert sorted(re.search(r"seed=\d", name)[0] for name in names) == ["seed=0", "seed=1"]
    assert "2 finished" in out


def test_a_sweep_from_a_file(here):
    (here / "conf" / "experiment").mkdir(parents=True)
    text = "hydra:\n  mode: MULTIRUN\n  sweep: {dir: s}\n  sweeper:\n    params: {seed: '3,4'}\n"
    (here / "conf" / "experiment" / "many.yaml").write_text(GLOBAL + text)
    assert run("train", "-cd", "conf", "experiment=many", *BASIC, *JOB)[0] == 0
    assert {yaml.safe_load(path.read_text())["seed"] for path in here.glob("s/*/config.yaml")} == {3, 4}
    assert run("train", "hydra.mode=MULTIRUN", *BASIC, "seed=5,6", "hydra.sweep.dir=t", *JOB)[0] == 0
    assert {yaml.safe_load(path.read_text())["seed"] for path in here.glob("t/*/config.yaml")} == {5, 6}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["seed=interval(0,3)"], "seed=interval(0,3): a grid needs a finite list"),
        (["seed=range(0,0)"], "one of the ranges is empty"),
        (["seed=1,,2"], "'seed=1,,2' is not an override"),
        (["seed=choice(1"], "'seed=choice(1' is not an override"),
        (
            ["data=csv", "data.path=my rows (1).csv", "seed=1,2"],
            "quote it, and all of it for the shell: \"data.path='my rows (1).csv'\"\n",
        ),
        (["data=csv", "data.target=Größe", "seed=1,2"], "for the shell: \"data.target='Größe'\"\n"),
        (["seed=1,oops"], "seed: Value 'oops'"),
        (["seed=0,1", "optimzer=sgd"], "Did you mean 'optimizer'?"),
        (["optimizer=sgd,sdg"], "Did you mean 'sgd'?"),
        (["hydra.verbose=true,false"], "Hydra's own configuration cannot be swept over"),
        (["hydra.sweeper.max_batch_size=0", "seed=0,1"], "max_batch_size=0: expected at least 1"),
        (["hydra.sweep.dir=", "seed=0,1"], "hydra.sweep.dir='': expected the path of a folder"),
        (["sweep.trials=3", "seed=0,1"], "BasicSweeper has no such option; leave out hydra/sweeper=…"),
        (["hydra/launcher=local", "seed=0,1"], "works for oarlock's own sweeper; add hydra/launcher=basic"),
        (["hydra/launcher=jobblib", "seed=0,1"], "there is no such hydra/launcher"),
        (["+hydra.launcher.jobs=2", "seed=0,1"], "hydra.launcher.jobs: it has no such option"),
        (["hydra.sweep.dir=taken", "seed=0,1"], "taken exists already"),
    ],
)
def test_a_sweep_that_is_not_valid_starts_no_job(here, arguments, said):
    (here / "taken").mkdir()
    (here / "taken" / "something").touch()
    before = sorted(here.rglob("*"))
    code, _, err = run("train", "-m", *BASIC, *JOB, *arguments)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) <= 4
    assert sorted(here.rglob("*")) == before


def test_a_signal_ends_a_sweep_resumably(here):
    child = subprocess.Popen(
        command("train", "-m", *BASIC, "callback=[]", "model.widths=[4]", "trainer.epochs=100000", "seed=0,1",
                "hydra.sweep.dir=s"),
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (here / "s" / "0" / "metrics.jsonl").exists() or not (here / "s" / "0" / "metrics.jsonl").stat().st_size:
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 75, errors
    assert "stopped by a signal; what was finished is in s" in errors
    assert statuses(here / "s") == {"0": "interrupted"}


# --- from Python


def test_train_from_python(here):
    result = package.train([*JOB, "hydra.run.dir=mine"])
    assert result.status == "completed"
    assert result.folder == here / "mine"
    assert result.best["monitor"] == "valid/accuracy"
    assert set(result.metrics) >= {"valid/loss", "valid/accuracy", "test/loss", "test/accuracy"}


def test_a_run_from_python_is_repeated_by_a_command(here, monkeypatch):
    (here / "conf" / "experiment").mkdir(parents=True)
    (here / "conf" / "experiment" / "mine.yaml").write_text(GLOBAL + "seed: 5\n")
    monkeypatch.setattr("sys.argv", ["program.py", "--words", "of=its own"])
    package.train([*JOB, "experiment=mine", "hydra.run.dir=mine"], config_dir="conf")
    command = json.loads((here / "mine" / "run.json").read_text())["command"]
    assert command == ["oarlock", "train", "--config-dir", "conf", *JOB, "experiment=mine", "hydra.run.dir=mine"]
    assert run(*command[1:-1], "hydra.run.dir=again")[0] == 0
    first, again = (yaml.safe_load((here / name / "config.yaml").read_text()) for name in ("mine", "again"))
    assert first == again
    assert first["seed"] == 5
