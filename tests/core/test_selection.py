"""Which plugins are loaded: switched off, named, allowed; and what has changed since a run was made."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points

import pytest

from oarlock.errors import UserError
from oarlock.selection import ALLOWED, AUTOLOAD, PLUGINS, Selection, flags_of, read_selection, take_flags

TRACE = """
import pathlib
pathlib.Path("was-here").touch()
from oarlock import component, hookimpl

@component
class Sgd2:
    '''SGD by another name.

    Args:
        learning_rate: step size.
    '''
    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD
        return SGD(schedule(self.learning_rate), parameters=parameters)

@hookimpl
def register_components(register):
    register("optimizer/sgd2", Sgd2)

@hookimpl
def register_commands(register):
    register("row", help="Echoes.", configure=lambda parser: parser.add_argument("-p"), run=lambda args: print(args.p))
"""


@pytest.fixture
def stranger(plugin):
    return plugin(TRACE)


@pytest.fixture
def left_out(oarlock, stranger, tmp_path):
    """Whether a command line leaves the stranger's plugin unimported; returns what `plugins --json` says of it."""

    def run(*arguments, **env):
        done = oarlock(*arguments, "plugins", "--json", env={**stranger, **env})
        assert done.returncode == 0, done.stderr
        (found,) = (plugin for plugin in json.loads(done.stdout) if plugin["name"] == "stranger")
        here = (tmp_path / "was-here").exists()
        (tmp_path / "was-here").unlink(missing_ok=True)
        assert here == (found["state"] == "loaded")
        own = [plugin["state"] for plugin in json.loads(done.stdout) if plugin["distribution"] == "oarlock"]
        assert set(own) == {"loaded"}
        return found

    return run


def test_the_list_says_where_a_plugin_is_from_and_what_it_fills(left_out):
    found = left_out()
    assert (found["distribution"], found["version"], found["state"]) == ("oarlock-stranger", "1.0", "loaded")
    assert found["file"].endswith("site/stranger_module.py")
    assert sorted(found["hooks"]) == ["build_optimizer", "register_commands", "register_components"]


@pytest.mark.parametrize(
    ("arguments", "env", "reason"),
    [
        (["--no-autoload"], {}, "autoload is switched off"),
        ([], {AUTOLOAD: "1"}, "autoload is switched off"),
        (["-p", "no:stranger"], {}, "switched off by no:stranger"),
        (["-pno:stranger"], {}, "switched off by no:stranger"),
        (["-p=no:stranger"], {}, "switched off by no:stranger"),
        ([], {PLUGINS: "no:stranger"}, "switched off by no:stranger"),
        (["--allow-plugins", "oarlock-other"], {}, "oarlock-stranger is not on the allow-list"),
        ([], {ALLOWED: ""}, "oarlock-stranger is not on the allow-list"),
        (["--allow-plugins=a", "-p", "stranger_module"], {}, "oarlock-stranger is not on the allow-list"),
    ],
)
def test_what_is_left_out_is_not_even_imported(left_out, arguments, env, reason):
    found = left_out(*arguments, **env)
    assert found["state"] == "skipped"
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--allow-plugins", "Oarlock_Stranger,other"], {}),
        (["--no-autoload", "-p", "stranger_module"], {}),
        (["--no-autoload", "-pstranger_module"], {}),
        ([], {AUTOLOAD: "1", PLUGINS: "stranger_module"}),
        ([], {AUTOLOAD: "0"}),
    ],
)
def test_what_is_named_is_loaded(left_out, arguments, env):
    assert left_out(*arguments, **env)["state"] == "loaded"


def test_a_module_without_entry_point_is_loaded_by_its_name(oarlock, tmp_path):
    (tmp_path / "mine.py").write_text(TRACE.split("@hookimpl\ndef register_commands")[0])
    env = {"PYTHONPATH": str(tmp_path)}
    assert oarlock("check", "optimizer=sgd2", env=env).returncode == 2
    done = oarlock("check", "-p", "mine", "optimizer=sgd2", env=env)
    assert done.returncode == 0, done.stderr
    refused = oarlock("-p", "mine", "check", "optimizer=sgd2", env={**env, ALLOWED: "oarlock-stranger"})
    assert refused.returncode == 2
    assert "no distribution is not on the allow-list" in refused.stderr


def test_what_a_run_with_a_named_module_says_to_type_next_can_be_typed(oarlock, tmp_path):
    (tmp_path / "mine.py").write_text(TRACE.split("@hookimpl\ndef register_commands")[0])
    env = {"PYTHONPATH": str(tmp_path)}
    done = oarlock("train", "-p", "mine", "optimizer=sgd2", "trainer.max_steps=2", "hydra.run.dir=r", env=env)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("next: ")]
    assert line == "next: oarlock evaluate -p mine r"
    done = oarlock(*line.split()[2:], env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_choice_that_was_left_out_says_so(oarlock, stranger):
    done = oarlock("train", "optimizer=sgd2", "--no-autoload", env=stranger)
    assert done.returncode == 2
    installed = sum(point.dist.name != "oarlock" for point in entry_points(group="oarlock"))  # beside the stranger
    left_out = "1 plugin was" if not installed else f"{1 + installed} plugins were"
    assert done.stderr.splitlines() == [
        "error: optimizer=sgd2: there is no such optimizer. Did you mean 'sgd'?",
        f"{left_out} left out: autoload is switched off (--no-autoload or {AUTOLOAD}).",
    ]


def test_a_plugins_command_keeps_its_own_flags(oarlock, stranger):
    done = oarlock("row", "-p", "oar", env=stranger)
    assert (done.returncode, done.stdout) == (0, "oar\n")


def test_a_broken_flag_is_an_error_of_input(oarlock):
    bad = (["plugins", "-p"], ["-p", "no:", "plugins"], ["plugins", "-p="], ["plugins", "--allow-plugins"],
           ["plugins", "--allow-plugins", "a b"])  # fmt: skip
    for words in bad:
        done = oarlock(*words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
        assert "expected" in done.stderr


def test_a_flag_that_chooses_plugins_is_not_lost_among_others(oarlock):
    done = oarlock("train", "-mp", "no:trackers", "seed=0,1")
    assert (done.returncode, done.stderr) == (
        2, "error: oarlock train -p no:trackers: what chooses plugins is a word of its own: -p no:trackers, not one with "
        "other flags.\n")  # fmt: skip


@pytest.mark.parametrize("environment", [{ALLOWED: ""}, {ALLOWED: "a,b", AUTOLOAD: "1"}, {PLUGINS: "mine,no:other"}])
def test_the_flags_of_an_environment_make_it_again(environment):
    again = {}
    assert take_flags(["train", *flags_of(environment)], {"train": 1}, again) == ["train"]
    assert read_selection(again) == read_selection(environment)


def test_flags_are_taken_anywhere_in_our_commands_and_before_others():
    everywhere, environment = {"train": 1}, {}
    assert take_flags(["train", "-p", "a", "seed=1", "-p", "no:b"], everywhere, environment) == ["train", "seed=1"]
    assert take_flags(["-p", "c", "serve", "-p", "d"], everywhere, environment) == ["serve", "-p", "d"]
    assert read_selection(environment) == Selection(modules=("a", "c"), without=frozenset({"b"}))
    with pytest.raises(UserError, match=re.escape("-p no:b,: expected a module, or no:NAME.")):
        take_flags(["-p", "no:b,"], everywhere, environment)


def test_a_module_that_is_named_must_load(oarlock):
    done = oarlock("train", "-p", "nowhere")
    assert done.returncode == 2
    assert done.stderr == (
        "error: -p nowhere: the module did not load: ModuleNotFoundError: No module named 'nowhere'\n"
        "A module is named without .py, and its folder must be on PYTHONPATH.\n"
    )


def test_what_is_wrong_with_a_module_that_is_named_is_said_as_it_is(oarlock, tmp_path):
    (tmp_path / "needs.py").write_text("import a_package_that_is_not_installed\n")
    (tmp_path / "nothing.py").write_text("x = 1\n")
    env = {"PYTHONPATH": str(tmp_path)}
    needs, nothing = (oarlock("train", "-p", name, env=env) for name in ("needs", "nothing"))
    assert needs.stderr == (
        "error: -p needs: the module did not load: ModuleNotFoundError: No module named 'a_package_that_is_not_installed' "
        "(needs.py, line 1)\n"
    )
    assert nothing.stderr == (
        f"error: -p nothing: the module did not load: it registers nothing. Is {tmp_path}/nothing.py the one that is meant?\n"
    )


def test_a_run_is_not_continued_with_another_version_unless_asked(oarlock, stranger, tmp_path):
    job = ["optimizer=sgd2", "model.widths=[8]", "callback=[]", "hydra.run.dir=run"]
    assert oarlock("train", *job, "trainer.epochs=2", env=stranger).returncode == 0
    metadata = tmp_path / "site" / "oarlock_stranger-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 2.0"))
    refused = oarlock("resume", "run", "trainer.epochs=3", env=stranger)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: run: since the run was made, oarlock-stranger was 1.0 and is 2.0.\n"
        "It would not go on exactly; continue it all the same with --allow-drift.\n"
    )
    done = oarlock("resume", "run", "trainer.epochs=3", "--allow-drift", env=stranger)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["components"]["optimizer"]["version"] == "2.0"
    assert record["drift"] == [{"step": 66, "changes": ["oarlock-stranger was 1.0 and is 2.0"]}]
    # The run is one of version 2.0 now.
    assert oarlock("resume", "run", "trainer.epochs=4", env=stranger).returncode == 0


def test_a_name_that_leaves_nothing_out_is_said(oarlock):
    done = oarlock("-p", "no:callback", "show", "runtime")
    assert (done.returncode, "runtime.tune=true" in done.stdout) == (0, True)
    assert done.stderr == (
        "warning: no:callback leaves nothing out: no plugin has this name. Did you mean 'callbacks'?\n"
    )


def test_show_knows_a_component_by_its_name_alone(oarlock):
    assert oarlock("show", "ema").stderr.endswith("Did you mean 'callback/ema'?\n")


def test_what_was_refused_is_named_where_it_is_asked_for(oarlock, plugin):
    env = plugin(TRACE.replace('"optimizer/sgd2"', '"optimizer/Sgd2"'))
    done = oarlock("train", "optimizer=sgd2", env=env)
    assert done.returncode == 2
    assert "Refused: 'stranger' of oarlock-stranger 1.0: 'optimizer/Sgd2' is not 'group/name'" in done.stderr
