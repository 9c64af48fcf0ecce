"""Configurations that try to execute, to explode or to confuse: refused in a few words, nothing runs."""

from __future__ import annotations

import io
import pickle
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from oarlock.cli import main

# Every payload, if anything executed it, would leave a file named PWNED.
TOUCH = "{touch}"
TARGETS = ["builtins.open", "os.system", "numpy.load", "subprocess.run", "pathlib.Path.touch", "builtins.exec",
           "paddle.load", "hydra.utils.instantiate", "logging.FileHandler", "__main__.main"]  # fmt: skip
PLACES = ["", "optimizer", "trainer", "callback.progress", "data", "foo", "hydra.callbacks.x", "hydra.launcher",
          "hydra.sweeper", "hydra.job_logging.handlers.x", "hydra.job_logging", "hydra.env", "hydra.runtime.x"]  # fmt: skip


def nested(path, value):
    """The value below a dotted path, as flow-style YAML."""
    for key in reversed(path.split(".") if path else []):
        value = f"{{{key}: {value}}}"
    return value


def bombs():
    laugh = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    yield "aliases", laugh
    yield "itself", "model: &m {widths: [*m]}\n"
    yield "merge", "x: &x {a: 1}\n" + "".join(f"y{n}: {{<<: *x}}\n" for n in range(100))
    yield "deep-flow", "model: " + "[" * 3000 + "]" * 3000
    yield "deep-block", "\n".join(" " * n + "k:" for n in range(500))
    yield "huge", "seed: 1 # " + "x" * 2_000_000
    yield "python-object", "seed: !!python/object/apply:os.system ['touch PWNED']"
    yield "python-name", "seed: !!python/name:os.system ''"
    yield "binary", "\x00\x01\x02"
    yield "not-a-mapping", "- 1\n- 2\n"
    yield "tab", "\tseed: 1"
    yield "unclosed", "seed: [1"
    yield "cycle", "seed: ${trainer.epochs}\ntrainer: {epochs: '${seed}'}\n"
    yield "create", "optimizer: ${oc.create:{_target_:os.system}}\n"
    yield "resolver", "seed: ${exec:touch}\n"
    yield "wrong-type", "seed: {a: 1}\n"
    yield "wrong-type-2", "trainer: 3\n"
    yield "wrong-type-3", "model: {widths: {a: 1}}\n"
    yield "null-group", "optimizer: null\n"
    yield "dunder", "__class__: {__init__: {__globals__: 1}}\n"
    yield "dunder-2", "optimizer: {__class__: x}\n"
    yield "dunder-3", "optimizer: {_target_: os.system, _partial_: true}\n"
    yield "unchosen", "callback: {ema: {decay: 0.5}}\n"
    yield "typo", "optimizer: {learning_rat: 0.5}\n"
    yield "defaults-logging", "defaults:\n  - override /hydra/job_logging: colorlog\n"
    yield "defaults-missing", "defaults:\n  - override /optimizer: nothere\n"
    yield "defaults-callbacks", "defaults:\n  - /hydra/callbacks@hydra.callbacks: evil\n"
    yield "searchpath", "hydra: {searchpath: ['pkg://os']}\n"
    yield "env-set", "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}\n"
    yield "output-subdir", "hydra: {output_subdir: ../../x}\n"
    yield "chdir", "hydra: {job: {chdir: true}}\n"
    yield "formatter", "hydra: {job_logging: {formatters: {x: {'()': os.system, 'command': 'touch PWNED'}}}}\n"
    yield "handler", "hydra: {hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}\n"


def experiments():
    """(name, YAML) of every hostile experiment file."""
    for target in TARGETS:
        for place in PLACES:
            payload = f"{{_target_: {target}, _args_: [{TOUCH}], command: {TOUCH}}}"
            yield f"{target}@{place or 'root'}", nested(place, payload)
    yield from bombs()


def overrides():
    """Hostile command lines."""
    for target in TARGETS[:4]:
        for place in PLACES[1:]:
            yield [f"+{place}._target_={target}"]
            yield [f"++{place}={{_target_:{target}}}"]
    yield ["--experimental-rerun", "evil.pickle"]
    yield ["--config-path", "."]
    yield ["--config-name", "evil"]
    yield ["hydra.searchpath=[pkg://os]"]
    yield ["+hydra.job.env_set.LD_PRELOAD=evil.so"]
    yield ["hydra/job_logging=colorlog"]
    yield ["hydra.job_logging.root.level=DEBUG"]
    yield ["optimizer=../../../etc/passwd"]
    yield ["experiment=../../evil"]
    yield ["model.widths=" + "[" * 1000 + "]" * 1000]
    yield ["model.widths=" + "[" * 40 + "]" * 40]
    yield ["seed=${seed}"]
    yield ["seed=${oc.decode:'__import__(1)'}"]
    yield ["+__class__=x"]
    yield ["optimizer.__class__=x"]
    yield ["=", "a=", "=b"]
    yield ["\x00=1"]
    yield ["optimizer=" + "x" * 5000]
    yield ["~seed"]
    yield ["~trainer"]
    yield ["trainer=null"]


def run(arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def assert_refused(what, code, out, err):
    assert code == 2, (what, code, out[-300:], err)
    assert "Traceback" not in out + err, what
    assert err.startswith("error: "), (what, err)
    assert len(err.strip().splitlines()) <= 4, (what, err)
    assert not Path("PWNED").exists(), what


def test_there_are_at_least_two_hundred():
    assert len(list(experiments())) + len(list(overrides())) >= 200


def check_experiments(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name, text in hostile:
        (folder / "evil.yaml").write_text("# @package _global_\n" + text.replace(TOUCH, f"'{tmp_path}/PWNED'"))
        result = run(["train", "--config-dir", "conf", "experiment=evil", "--cfg", "job"])
        assert_refused(name, *result)


def test_hostile_experiment_files(tmp_path, monkeypatch):
    payloads = len(TARGETS) * len(PLACES)
    everything = list(experiments())
    # A step that shares no divisor with the number of places meets all of them and all targets.
    check_experiments(tmp_path, monkeypatch, everything[:payloads:11] + everything[payloads:])


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_all_hostile_experiment_files(tmp_path, monkeypatch):
    check_experiments(tmp_path, monkeypatch, experiments())


def check_command_lines(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)

    class Evil:
        def __reduce__(self):
            return (open, ("PWNED", "w"))

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Evil()))
    for arguments in hostile:
        assert_refused(arguments, *run(["train", *arguments, "--cfg", "job"]))


def test_hostile_command_lines(tmp_path, monkeypatch):
    everything = list(overrides())
    targets = [arguments for arguments in everything if "_target_" in arguments[0]]
    others = [arguments for arguments in everything if arguments not in targets]
    check_command_lines(tmp_path, monkeypatch, targets[::5] + others)


@pytest.mark.soak
def test_all_hostile_command_lines(tmp_path, monkeypatch):
    check_command_lines(tmp_path, monkeypatch, overrides())


@pytest.mark.parametrize("kind", ["launcher", "sweeper"])
def test_a_launcher_of_the_attacker_is_no_launcher(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "hydra" / kind).mkdir(parents=True)
    (tmp_path / "conf" / "hydra" / kind / "evil.yaml").write_text("_target_: builtins.open\n_args_: [PWNED, w]\n")
    assert_refused(kind, *run(["train", "-cd", "conf", f"hydra/{kind}=evil", "--cfg", "job"]))
    assert_refused(kind, *run(["train", "-cd", "conf", "-m", f"hydra/{kind}=evil", "seed=0,1"]))


def test_a_sweep_with_one_hostile_point_starts_no_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text("# @package _global_\nseed: 1\n")
    (folder / "evil.yaml").write_text(
        "# @package _global_\nhydra: {callbacks: {x: {_target_: builtins.open, _args_: [PWNED, w]}}}\n"
    )
    assert_refused("sweep", *run(["train", "-cd", "conf", "-m", "experiment=good,evil"]))
    assert not list(tmp_path.glob("sweeps/**/run.json"))
