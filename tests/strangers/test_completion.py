"""Completion of a stranger's components, as the shells ask for it and as a person at a terminal sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios

import pytest

from tests.conftest import environment

CANDIDATES = {
    "tra": ["train"],
    "train data=r": ["data=ramps"],
    # The fields of what is chosen, by default or by what stands before, and of nothing else.
    "train data.": ["data.valid_fraction=", "data.test_fraction=", "data.split_seed="],
    "train data=ramps data.": ["data.rows=", "data.side=", "data.extra=", "data.fraction="],
    "train data=ramps,digits data.r": ["data.rows="],
    "train experiment=seed_mnist data.r": ["data.root="],
    "train data.side=": [],
    "train data=ramps data.side=": ["data.side=port", "data.side=starboard", "data.side=null"],
    "train data=ramps data.side=s": ["data.side=starboard"],
    "train optimizer=momentum optimizer.nesterov=": ["optimizer.nesterov=false", "optimizer.nesterov=true"],
    "train +callback=[bow,co": ["+callback=[bow,cox"],
    "train callback=[bow,b": [],
    "train +re": ["+regularizer="],
    "train +optimizer@data.extra=sg": ["+optimizer@data.extra=sgd"],
    "train data=ramps +optimizer@data.extra=sgd data.extra.": ["data.extra.learning_rate="],
    "train ~callback.p": ["~callback.progress"],
    "train ~callback.progress callback.p": [],
    "train trainer.checkpoint.k": ["trainer.checkpoint.keep="],
    "train experiment=": ["experiment=seed_mnist"],
    "train -cd own experiment=": ["experiment=mine", "experiment=seed_mnist"],
    "train --config-dir=own optimizer=m": ["optimizer=mine", "optimizer=momentum"],
    "train -cd ": [],
    "train --mul": ["--multirun"],
    "check data=ra": ["data=ramps"],
    "show data/r": ["data/ramps"],
    "completion f": ["fish"],
    "resume ": [],
    "nonsense x": [],
}


@pytest.fixture
def own(tmp_path):
    """A user's own configuration files."""
    for name in ("experiment", "optimizer"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "mine.yaml").write_text("defaults: []\n")
    return tmp_path / "own"


def test_the_last_word_becomes(ask, stroke, own):
    lines = [line.replace("own", str(own)) for line in CANDIDATES]
    answers = ask(stroke, *(f"_complete -- {line}" for line in lines))
    assert {line: answer.out.split() for line, answer in zip(CANDIDATES, answers, strict=True)} == CANDIDATES
    assert all(answer.code == 0 and answer.err == "" and not answer.paddle for answer in answers)


def test_nothing_that_is_only_asked_imports_paddle(ask, stroke):
    answers = ask(
        stroke, "--help", "train --help", "plugins", "plugins --json", "show data/ramps", "show trainer",
        "train --cfg job data=ramps data.fraction=1", "completion bash", "train data=none",
    )  # fmt: skip
    assert [answer.code for answer in answers] == [0] * 8 + [2]
    assert not any(answer.paddle for answer in answers)


def on_path(folder):
    """A folder with this environment's oarlock as a command."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "oarlock"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m oarlock "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, argv, env):
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 300, 0, 0))  # no line is wrapped

    def type(self, keys, expected):
        """Type, and wait until the terminal shows the expected text."""
        os.write(self.file, keys.encode())
        shown = ""
        while expected not in shown:
            ready, _, _ = select.select([self.file], [], [], 30)
            assert ready, f"typed {keys!r}, expected {expected!r}, got {shown!r}"
            shown += os.read(self.file, 65536).decode(errors="replace")

    def close(self):
        os.close(self.file)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal():
    opened = []

    def start(argv, env):
        opened.append(Terminal(argv, {**env, "TERM": "dumb"}))
        return opened[-1]

    yield start
    for shell in opened:
        shell.close()


@pytest.mark.slow
def test_a_person_presses_tab_in_bash(terminal, stroke, tmp_path):
    (tmp_path / "rows.csv").write_text("")
    shell = terminal(["bash", "--norc", "--noprofile", "-i"], environment({**stroke, **on_path(tmp_path)}))
    shell.type(f"PS1='> '; cd {tmp_path}; source <(oarlock completion bash); echo rea''dy\n", "ready")
    shell.type("oarlock tra\t", "train ")
    shell.type("data=ra\t", "mps ")  # a whole value ends with a blank
    shell.type("data.fr\t0.5\t", "action=0.5")  # a key does not
    shell.type(" data.si\tst\t", "arboard ")
    shell.type("callback=[bo\t,co\t] ", "[bow,cox] ")
    shell.type("+optimizer@data.extra=sg\t", "d ")
    shell.type("trainer.init_from=ro\t", "ws.csv ")  # where we know nothing, files


@pytest.mark.parametrize("breaks", [" \t\n\"'@><=;|&(:", " \t\n\"'><;|&("], ids=["default", "without ="])
def test_bash_is_given_the_part_of_the_word_that_it_replaces(oarlock, stroke, tmp_path, breaks):
    line = "oarlock train data=ramps data.side=st"
    script = f"{oarlock('completion', 'bash').stdout}\n_oarlock oarlock; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    env = {**stroke, **on_path(tmp_path), "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        ["bash", "-c", f"COMP_WORDBREAKS=$BREAKS\n{script}"], env=environment({**env, "BREAKS": breaks}),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == ("starboard\n" if "=" in breaks else "data.side=starboard\n")


@pytest.mark.slow
def test_a_person_presses_tab_in_zsh(terminal, stroke, tmp_path):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "rows.csv").write_text("")
    shell = terminal(["zsh", "-f", "-i"], environment({**stroke, **on_path(tmp_path)}))
    setup = 'autoload -Uz compinit && compinit -u -D && eval "$(oarlock completion zsh)"'
    shell.type(f"PS1='> '; cd {tmp_path}; {setup}; echo rea''dy\n", "ready\r\n")
    shell.type("oarlock tra\t", "train")
    shell.type(" data=ra\t", "mps")
    shell.type(" data.si\tst\t", "arboard")
    shell.type(" trainer.init_from=ro\t", "ws.csv")


@pytest.mark.slow
def test_fish_is_given_the_candidates(stroke, tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (tmp_path / "rows.csv").write_text("")
    lines = ["oarlock tra", "oarlock train data=ra", "oarlock train callback=[bow,co", "oarlock resume ro",
             "oarlock train trainer.init_from=ro"]  # fmt: skip
    asked = "\n".join(f"complete -C '{line}'" for line in lines)
    done = subprocess.run(
        ["fish", "-c", f"oarlock completion fish | source\n{asked}"],
        cwd=tmp_path, env=environment({**stroke, **on_path(tmp_path), "HOME": str(tmp_path)}),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [
        "train", "data=ramps", "callback=[bow,cox", "rows.csv", "trainer.init_from=rows.csv",
    ]  # fmt: skip
