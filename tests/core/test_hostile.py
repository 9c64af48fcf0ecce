"""Configurations that hide what they do better than a plain `_target_`: nothing is executed, nothing hangs."""

from __future__ import annotations

import io
import itertools
import json
import os
from contextlib import redirect_stderr, redirect_stdout

import pytest

from oarlock.cli import main

GLOBAL = "# @package _global_\n"
PWNED = "PWNED"
# What would leave a folder of this name in the working folder, if anything called it.
TOUCH = f"{{_target_: os.mkdir, path: {PWNED}}}"
CREATE = f"${{oc.create:{{_target_: os.mkdir, path: {PWNED}}}}}"
JOB = ["trainer.max_steps=2", "model.widths=[4]", "callback=[]"]
BASIC = "hydra._internal.core_plugins.basic_{0}.Basic{1}"


def run(arguments):
    """The exit code and stderr of `oarlock` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(map(str, arguments)))
    assert "Traceback" not in out.getvalue()
    return code, err.getvalue()


@pytest.fixture
def assert_refused(tmp_path, monkeypatch):
    """Asserts that the arguments are refused in a few words, and leave nothing behind."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments, said=""):
        before = sorted(tmp_path.rglob("*"))
        code, err = run(arguments)
        assert code == 2, err
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert len(err.splitlines()) <= 4
        assert said in err
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.fixture
def write(tmp_path):
    """Write the files of an attacker; the one with the empty name is `experiment/evil.yaml`."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / "conf" / (name or "experiment/evil.yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "conf" / "experiment" / "evil.yaml"

    return write


EVIL = ["train", "--config-dir", "conf", "experiment=evil", "--cfg", "job"]


# --- files that are no text, or no file


CONTENTS = {
    "invalid UTF-8": (b"seed: \xff\n", "evil.yaml: 'utf-8' codec"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "evil.yaml: 'utf-8' codec"),
    "byte order mark": ("\ufeffseed: 1\n", "byte order mark"),
    "program": (b"\x7fELF\x02\x01\x01\x00", "evil.yaml"),
    "all bytes": (bytes(range(256)), "evil.yaml"),
    "two megabytes": (b"#" * 2_000_000, "larger than"),
    "one long word": (GLOBAL + "seed: '" + "x" * 900_000 + "'\n", "seed: Value"),
    "many values": (GLOBAL + "seed: [" + "1," * 30_000 + "]\n", "too large or too deep"),
    "deep": (GLOBAL + "model: " + "{a: " * 60 + "}" * 60, "too large or too deep"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "another document"),
    "another version": ("%YAML 9.9\n---\nseed: 1\n", "incompatible YAML"),
    "tag directive": ("%TAG ! tag:yaml.org,2002:python/\n---\nseed: !object/apply:os.mkdir [PWNED]\n", "constructor"),
    "local tag": (GLOBAL + "seed: !mkdir PWNED\n", "could not determine a constructor"),
    "module tag": (GLOBAL + "seed: !!python/module:antigravity ''\n", "could not determine a constructor"),
    "new object": (GLOBAL + "seed: !!python/object/new:os.mkdir [PWNED]\n", "could not determine a constructor"),
    "list as key": (GLOBAL + "? [1, 2]\n: 3\n", "unhashable key"),
    "null as key": (GLOBAL + "null: 3\n", "Incompatible key"),
    "merge itself": (GLOBAL + "trainer: &t {<<: *t}\n", "too large or too deep"),
    "alias of an alias": (GLOBAL + "seed: &a [&b [*a]]\n", "too large or too deep"),
    "unknown anchor": (GLOBAL + "seed: *nothing\n", "undefined alias"),
    "a number": (GLOBAL + "3\n", "evil.yaml"),
    "empty": ("", "must begin with '# @package _global_'"),
    "no header value": ("# @package\nseed: 1\n", "header"),
    "header of three words": ("# @package a b\nseed: 1\n", "@package a b"),
    "header into callbacks": ("# @package hydra.callbacks.x\n_target_: os.mkdir\npath: PWNED\n", "hydra.callbacks.x"),
    "header into the job": ("# @package hydra.job\nenv_set: {LD_PRELOAD: x.so}\n", "hydra.job.env_set"),
    "header into logging": ("# @package hydra.job_logging.formatters.x\n(): os.mkdir\n", "hydra.job_logging"),
    "header with a reference": ("# @package ${seed}\nseed: 1\n", "experiment/evil: ${seed}"),
    "header with dots": ("# @package ...\nseed: 1\n", "experiment/evil"),
    "header of a dunder": ("# @package __class__\nseed: 1\n", "__class__"),
    "last header counts": ("# @package _global_\n# @package hydra\nseed: 1\n", "hydra.seed"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CONTENTS)
def test_contents(assert_refused, write, name):
    content, said = CONTENTS[name]
    write({"": content})
    assert_refused(*EVIL, said=said)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path),
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/stdin"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.mkdir(),
    ],
    ids=["loop", "pipe", "zero", "stdin", "dangling", "folder"],
)
def test_what_is_no_file_is_not_opened(assert_refused, write, make):
    path = write({})
    path.parent.mkdir(parents=True)
    make(path)
    assert_refused(*EVIL, said="there is no such experiment")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(assert_refused, write):
    write({"": GLOBAL}).chmod(0)
    assert_refused(*EVIL, said="evil.yaml: cannot be read: Permission denied")


# --- defaults lists


TWICE = {f"experiment/b{n}.yaml": f"defaults: [b{n + 1}@x, b{n + 1}@y]\n" for n in range(25)}
DEFAULTS = {
    "bomb": ({"": "defaults: [b0]\n", **TWICE, "experiment/b25.yaml": "a: 1\n"}, "name too many files"),
    "itself": ({"": GLOBAL + "defaults: [evil]\n"}, "nested too deeply"),
    "each other": ({"": GLOBAL + "defaults: [b]\n", "experiment/b.yaml": "defaults: [evil]\n"}, "nested too deeply"),
    "the whole": ({"": GLOBAL + "defaults: [/config]\n"}, "nested too deeply"),
    "Hydra's own": ({"": GLOBAL + "defaults: [/hydra/config]\n"}, "you may choose: hydra/launcher"),
    "logging of the attacker": (
        {"": GLOBAL + "defaults: [override /hydra/job_logging: evil]\n",
         "hydra/job_logging/evil.yaml": "version: 1\nformatters: {x: {'()': os.mkdir, path: PWNED}}\n"},
        "you may choose: hydra/launcher",
    ),
    "logging by a detour": (
        {"": GLOBAL + "defaults: [/foo@hydra.job_logging]\n",
         "foo.yaml": "formatters: {x: {'()': os.mkdir, path: PWNED}}\n"},
        "hydra.job_logging.formatters",
    ),
    "callback by a detour": ({"": GLOBAL + "defaults: [/foo@hydra.callbacks.x]\n", "foo.yaml": TOUCH}, "hydra.callbacks"),
    "launcher": ({"": GLOBAL + "defaults: [override /hydra/launcher: joblib]\n"},
                 "hydra/launcher: a file cannot choose it; type hydra/launcher=… on the command line."),
    "launcher in a component": ({"": GLOBAL + "defaults: [/hydra/launcher@callback.x: basic]\n"}, "callback.x"),
    "a string": ({"": GLOBAL + "defaults: x\n"}, "must be a list"),
    "a number": ({"": GLOBAL + "defaults: [1]\n"}, "Unsupported type in defaults"),
    "twice itself": ({"": GLOBAL + "defaults: [_self_, _self_]\n"}, "Duplicate _self_"),
    "outside": ({"": GLOBAL + "defaults: [../../../../../../../../etc/passwd]\n"}, "no such"),
    "reference": ({"": GLOBAL + "defaults: [/optimizer: '${x}']\n"}, "'x' not found"),
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_lists(assert_refused, write, name):
    files, said = DEFAULTS[name]
    write(files)
    assert_refused(*EVIL, said=said)


# --- Hydra's own configuration


HYDRA = {
    "null": ("null", "expected a mapping"),
    "reference": ("${model}", "expected a mapping"),
    "list": ("[]", "expected a mapping"),
    "recorded overrides": ("{overrides: {hydra: ['hydra.callbacks.x._target_=os.mkdir']}}", "hydra.overrides"),
    "folder of a job": ("{runtime: {output_dir: /}}", "hydra.runtime.output_dir"),
    "environment": ("{job: {env_copy: [HOME]}}", "hydra.job.env_set"),
    "search path": ("{searchpath: ['pkg://this']}", "hydra.searchpath"),
    "handler": ("{job_logging: {handlers: {x: {class: os.mkdir, path: PWNED}}}}", "hydra.job_logging"),
    "handlers of the root": ("{hydra_logging: {root: {handlers: [x]}}}", "hydra.hydra_logging"),
    "list of callbacks": (f"{{callbacks: {{x: [{TOUCH}]}}}}", "hydra.callbacks"),
    "callbacks by reference": (f"{{callbacks: '{CREATE}'}}", "hydra.callbacks"),
    "no launcher": ("{launcher: null}", "hydra.launcher: one must be chosen"),
    "launcher by reference": ("{launcher: '${trainer}'}", "experiment/evil"),
    "params": (f"{{sweeper: {{params: {{seed: '{CREATE}'}}}}}}", "'hydra.sweeper' has no option 'params'"),
    "endless folder": ("{run: {dir: '${hydra.run.dir}'}}", "hydra.run.dir: Recursive interpolation"),
    "empty folder": ("{run: {dir: ' '}}", "expected the path of a folder"),
    "folder with a zero": ('{run: {dir: "a\\0b"}}', "expected the path of a folder"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HYDRA)
def test_hydra_in_a_file(assert_refused, write, name):
    text, said = HYDRA[name]
    write({"": f"{GLOBAL}hydra: {text}\n"})
    assert_refused(*EVIL, said=said)


INSIDE = {
    "unknown option": f"x: {TOUCH}\n",
    "in a list": f"x: [{TOUCH}]\n",
    "in a list of lists": f"x: [[{TOUCH}]]\n",
    "by reference": f"x: '{CREATE}'\n",
    "by YAML in a string": "x: '${oc.create:\"_target_: os.mkdir\"}'\n",
    "arguments": "_args_: [PWNED]\n",
    "partial": "_partial_: true\n",
    "not recursive": "_recursive_: false\n",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("name", "kind"), list(zip(INSIDE, itertools.cycle(["launcher", "sweeper", "sweeper"]))))
def test_a_real_launcher_with_something_inside(assert_refused, write, kind, name):
    write({f"hydra/{kind}/evil.yaml": f"_target_: {BASIC.format(kind, kind.title())}\n{INSIDE[name]}"})
    assert_refused("train", "-cd", "conf", "-m", f"hydra/{kind}=evil", "seed=0,1", *JOB, said=f"hydra.{kind}.")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("params", "said"),
    [
        (f"{{x: {TOUCH}}}", "hydra.sweeper.params.x._target_"),
        (f"{{x: [{TOUCH}]}}", "hydra.sweeper.params.x.0._target_"),
        (f"{{x: [[{TOUCH}]]}}", "hydra.sweeper.params.x.0.0._target_"),
        (f"['{CREATE}']", "a reference to several values"),
        ("{hydra.callbacks.x._target_: os.mkdir}", "hydra.callbacks.x._target_=os.mkdir: not allowed"),
        ("{hydra.searchpath: '[pkg://this]'}", "hydra.searchpath=[pkg\\://this]: not allowed"),
        ("{+optimizer._target_: os.mkdir}", "'optimizer' has no option '_target_'"),
    ],
)
def test_params_of_a_sweeper(assert_refused, write, params, said):
    target = BASIC.format("sweeper", "Sweeper")
    write({"hydra/sweeper/evil.yaml": f"_target_: {target}\nmax_batch_size: null\nparams: {params}\n"})
    assert_refused(
        "train", "-cd", "conf", "-m", "hydra/sweeper=evil", "hydra/launcher=basic", "seed=0,1", *JOB, said=said
    )


@pytest.mark.parametrize("override", ["++hydra.launcher.x=[{_target_:os.mkdir,path:PWNED}]", "+hydra.sweeper.x=1",
                                      "+hydra/sweeper@hydra.x=basic",
                                      "hydra.launcher._target_='${oc.decode:os.mkdir}'"])  # fmt: skip
def test_a_launcher_changed_by_overrides(assert_refused, override):
    assert_refused("train", "-m", override, "seed=0,1", *JOB, said="hydra.")


# --- references


def bomb(fields, times):
    """Each value refers to the next so many times: times ** len(fields) in the end."""
    targets = [*fields[1:], "hydra.sweep.dir"]
    return [f"{field}={f'${{{target}}}' * times}" for field, target in zip(fields, targets, strict=True)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (bomb(["trainer.monitor", "trainer.init_from", "trainer.evaluate_every", "hydra.job.name"], 300), "too many"),
        (bomb(["trainer.monitor", "trainer.init_from", "hydra.job.name"], 900), "too many"),
        (["model.widths=${oc.create:[[[[[1]]]]]}"], "its values must be int"),
        (["model.widths=${oc.dict.values:trainer}"], "its values must be int"),
        (["model.widths=${model.widths}"], "Recursive interpolation"),
        (["model.widths=" + "[" * 30 + "]" * 30], "expected int"),
        (["model.widths=" + "[1," * 60 + "]" * 60], "nested too deeply"),
        (["model.widths=[" + "1," * 15_000 + "1]"], "too long"),
        (["seed=" + "${" * 60 + "}" * 60], "nested too deeply"),
        (["seed=${seed.__class__}"], "seed"),
        (["seed=${os.mkdir:PWNED}"], "Unsupported interpolation type os.mkdir"),
        (["seed=${oc.decode:'!!python/object/apply:os.mkdir [PWNED]'}"], "seed"),
        (["seed=${oc.select:optimizer}"], "seed"),
        (["seed=${oc.deprecated:trainer.epohcs}"], "seed"),
        (["trainer=${oc.create:'{_target_: os.mkdir}'}"], "trainer"),
        (["+callback.x=${trainer}"], "callback.x"),
    ],
)  # fmt: skip
def test_references(assert_refused, overrides, said):
    assert_refused("train", "--cfg", "job", *overrides, said=said)


# --- sweeps, and runs that were recorded


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.parametrize("extra", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_a_sweep_is_refused_before_its_first_job(assert_refused, write, launcher, extra):
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    write({"experiment/good.yaml": GLOBAL, "": f"{GLOBAL}hydra: {{callbacks: {{x: {TOUCH}}}}}\n"})
    sweep = ["train", "-cd", "conf", "-m", "hydra/sweeper=basic", f"hydra/launcher={launcher}", *extra, *JOB]
    assert_refused(*sweep, "experiment=good,evil", said="hydra.callbacks")
    assert_refused(*sweep, "experiment=good", "optimizer.learning_rate=0.1,oops", said="optimizer.learning_rate")


RECORDED = {
    "tag": "seed: !!python/object/apply:os.mkdir [PWNED]\n",
    "target": "optimizer: {_target_: os.mkdir}\n",
    "bomb": "a: &a [1]\n" + "".join(f"a{n}: &a{n} [*a, *a]\n" for n in range(30)) + "seed: &s [*s]\n",
    "list": "- 1\n",
    "binary": "\x00",
    "empty": "",
}


@pytest.mark.parametrize(("name", "command"), list(zip(RECORDED, itertools.cycle(["resume", "evaluate"]))))
def test_a_recorded_configuration_is_vetted_as_well(assert_refused, tmp_path, command, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(RECORDED[name])
    made_with = {"component": "optimizer/adam", "distribution": "oarlock", "version": "0"}
    record = {"status": "running", "components": {"optimizer": made_with}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert_refused(command, "run")


# --- as a user meets them


@pytest.mark.parametrize("name", ["program", "header into callbacks", "tag directive"])
def test_hostile_files_as_processes(oarlock, write, tmp_path, name):
    content, said = CONTENTS[name]
    write({"": content})
    done = oarlock("train", "--config-dir", "conf", "experiment=evil", timeout=20)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
