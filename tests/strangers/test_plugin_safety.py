"""Broken plugins are listed with their reasons, cannot be chosen, and harm nobody."""

from __future__ import annotations

import json

import pytest
import yaml

BROKEN = {
    "absent": "ModuleNotFoundError: No module named 'oarlock_leaks_absent'",
    "exits": "SystemExit: 3 (oarlock_leaks_exits.py, line 5)",
    "late": "OSError: sank (oarlock_leaks_late.py, line 21)",
    "misplaced": "oarlock_leaks_misplaced.on_step_end is a hook of components; in a module it is never called",
    "mistyped": "oarlock_leaks_mistyped.register_component is marked @hookimpl but there is no such hook. "
    "Did you mean 'register_components'?",
    "object": "the entry point must name a module, 'oarlock_leaks_parts:Fine' names an object in one",
    "raises": "RuntimeError: no water (oarlock_leaks_raises.py, line 3)",
    "unmarked": "oarlock_leaks_unmarked.register_components bears the name of a hook but is not marked: add @hookimpl",
}
REFUSED = {
    "mistyped_hook": "MistypedHook.on_stepend is marked @hookimpl but there is no such hook. "
    "Did you mean 'on_step_end'?",
    "unmarked": "Unmarked.on_step_end bears the name of a hook but is not marked: add @hookimpl",
    "mistyped_argument": "MistypedArgument.on_step_end: on_step_end gives no 'runs'. Did you mean 'run'?",
    "default_argument": "DefaultArgument.on_evaluation_end: the argument 'metrics' has a default, so it is never passed",
    "keyword_default": "KeywordDefault.on_evaluation_end: the argument 'metrics' has a default, so it is never passed",
    "keyword_only": "KeywordOnly.on_step_end: the argument 'run' is taken by its name only, and is given by its place",
    "mistyped_keyword": "MistypedKeyword.on_step_end: on_step_end gives no 'runs'. Did you mean 'run'?",
    "yields": "Yields.on_step_end has a yield, so its body would never run",
    "awaits": "Awaits.compute_penalty is an async def, which nobody awaits",
    "property": "Property.on_step_end bears the name of a hook but is a property, so it is never called",
    "module_hook": "ModuleHook.register_commands is called in a plugin's module only",
    "hook_field": "HookField: the field 'forward' bears the name of a hook; rename it",
    "hidden_field": "HiddenField: the field 'count' has init=False",
    "odd_type": "declares fields that cannot be configured: ",
    "frozen_type": "FrozenType declares fields that cannot be configured: holds is of type Rigid, whose options cannot be set; "
    "remove its frozen=True",
    "key_type": "KeyType declares fields that cannot be configured: sides has keys of type Side, which a run's record does not",
    "late_type": "LateType declares fields that cannot be configured: name 'Path' is not defined",
    "forgetful": "Forgetful has state_dict but no load_state_dict",
    "bare": "Bare is not a component: decorate it with @oarlock.component",
    "again": "Fine is 'callback/fine' already; register a subclass, decorated with @component, as 'callback/again'",
}
TWICE = "by 'port' of oarlock-leaks 0.3 and by 'starboard' of oarlock-leaks 0.3"


@pytest.fixture(scope="module")
def listed(ask, leaks):
    plain, as_json = ask(leaks, "plugins", "plugins --json")
    assert plain.code == as_json.code == 0
    assert plain.err == as_json.err == ""
    assert not as_json.paddle
    return plain.out.splitlines(), {plugin["name"]: plugin for plugin in json.loads(as_json.out)}


def test_every_broken_plugin_is_listed_with_its_reason(listed):
    lines, by_name = listed
    found = [line for line in lines if line.startswith("broken: ")]
    assert found == [f"broken: '{name}' of oarlock-leaks 0.3: {reason}" for name, reason in sorted(BROKEN.items())]
    assert {name: plugin["reason"] for name, plugin in by_name.items() if plugin["state"] == "broken"} == BROKEN


def test_every_refused_component_is_listed_with_its_reason_and_the_others_are_there(listed):
    lines, by_name = listed
    refused = "\n".join(line for line in lines if line.startswith("refused: "))
    for reason in REFUSED.values():
        assert reason in refused
    assert "'Callback/Loud' is not 'group/name' in lower case" in refused
    assert "'trainer' cannot be a component group: the name is taken" in refused
    assert "the group 'optimizer' takes one component, 'optimizer/fine' was registered with many=True" in refused
    assert by_name["parts"]["components"] == ["callback/fine"]
    assert set(by_name["parts"]["refused"]) == {
        *(f"callback/{name}" for name in REFUSED), "Callback/Loud", "trainer/fine", "optimizer/fine",
    }  # fmt: skip
    assert [line.split("  ")[0] for line in lines if "oarlock-leaks" in line and ":" not in line] == [
        "callback/chatty", "callback/fine", "rigger/port", "rigger/starboard",
    ]  # fmt: skip


def test_a_plugin_without_a_hook_is_listed(listed):
    lines, _ = listed
    assert [line for line in lines if line.startswith("empty: ")] == [
        "empty: 'empty' of oarlock-leaks 0.3: its module has no register_components, register_commands or "
        "register_hookspecs"
    ]


def test_a_plugin_that_slows_every_command_down_is_named(ask, plugin):
    (answer,) = ask(plugin("import paddle\n", "slow"), "plugins")
    assert answer.paddle
    assert "slow: 'slow' of oarlock-slow 1.0 imports Paddle when it is loaded; import it inside the hooks" in answer.out


def test_what_two_plugins_claim_is_neither_s(ask, leaks, listed):
    lines, by_name = listed
    assert f"refused: 'optimizer/oar' is registered twice, {TWICE}" in lines
    assert f"refused: the command 'bail' is registered twice, {TWICE}" in lines
    assert by_name["port"]["commands"] == by_name["starboard"]["commands"] == []
    chosen, shown, called = ask(leaks, "train --cfg job optimizer=oar", "show optimizer/oar", "bail")
    assert (chosen.code, shown.code, called.code) == (2, 2, 2)
    assert chosen.err == shown.err
    assert f"optimizer=oar cannot be used: 'optimizer/oar' is registered twice, {TWICE}." in chosen.err


MINE = """
from oarlock import component, hookimpl

@component
class Mine:
    pass

@hookimpl
def register_components(register):
    register("data/mine", Mine)
"""


def test_who_takes_the_name_of_a_built_in_plugin_takes_nothing_away(ask, plugin):
    listed, default, mine = ask(plugin(MINE, "data"), "plugins", "train --cfg job", "train --cfg job data=mine")
    assert "broken: 'data' of oarlock-data 1.0: the plugin name 'data' is claimed by " in listed.out
    assert "data/digits" in listed.out
    assert "data/mine" not in listed.out
    assert default.code == 0
    assert mine.code == 2
    assert "oarlock-data 1.0" in mine.err


def test_choosing_what_was_refused_says_why(ask, leaks):
    for answer, (name, reason) in zip(
        ask(leaks, *(f"train --cfg job callback=[{name}]" for name in REFUSED)), REFUSED.items(), strict=True
    ):
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith(f"error: callback={name} cannot be used: 'parts' of oarlock-leaks 0.3")
        assert reason in answer.err
        assert len(answer.err.splitlines()) <= 3


def test_choosing_what_a_broken_plugin_had_says_why(ask, leaks):
    halfway, unknown = ask(leaks, "train --cfg job callback=halfway", "train --cfg job model=whatever")
    assert halfway.code == unknown.code == 2
    assert "'late' of oarlock-leaks 0.3: OSError: sank" in halfway.err
    # Nobody knows what a plugin had that did not load, so all of them are named.
    assert "did not load: oarlock-leaks 0.3; 'oarlock plugins' says why." in unknown.err


def test_everything_else_works(ask, leaks):
    composed, rigged, help_, completed, halfway = ask(
        leaks, "train --cfg job callback=[chatty,fine]", "train --cfg job rigger=[starboard,port]",
        "train --help", "_complete -- train rigger=[port,", "halfway",
    )  # fmt: skip
    assert composed.code == rigged.code == help_.code == completed.code == 0
    # What a plugin prints while it loads is in nobody's output.
    assert yaml.safe_load(composed.out)["callback"].keys() == {"chatty", "fine"}
    # `port` had opened the group for one component; who is loaded first does not matter.
    assert list(yaml.safe_load(rigged.out)["rigger"]) == ["starboard", "port"]
    assert "port, starboard" in help_.out
    assert completed.out == "rigger=[port,starboard\n"
    assert "ahoy" not in composed.out + help_.out + completed.out
    assert halfway.code == 2
    assert "there is no such command" in halfway.err


MADE_ELSEWHERE = """
import functools
from oarlock import component, hookimpl

def says(word):
    @hookimpl
    def on_run_start(self, run):
        print(word, self.name, run.step)

    return on_run_start

def twice(function):
    @functools.wraps(function)
    def both(self, *given):
        function(self, *given)
        function(self, *given)

    return both

@component
class Made:
    name: str = "made"
    on_run_start = says("starts")

    @hookimpl
    @twice
    def on_run_end(self, run):
        print("ends", self.name, run.step)

@hookimpl
def register_components(register):
    register("callback/made", Made)
"""


def test_a_hook_may_be_made_elsewhere_or_wrapped(oarlock, plugin):
    done = oarlock("train", "callback=[made]", "trainer.max_steps=2", env=plugin(MADE_ELSEWHERE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "starts made 0"
    assert done.stdout.count("ends made 2\n") == 2
