"""A run's plugin manager does what pluggy's does, and looks into no object."""

from __future__ import annotations

import types

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oarlock
from oarlock import hookimpl, hookspecs
from oarlock.plugins import load_host
from oarlock.run_manager import RunManager


class Plain:
    def __init__(self):
        self.first, self.second = 1, [2]

    @hookimpl
    def on_step_end(self):
        self.first += 1

    @hookimpl(trylast=True)
    def on_epoch_end(self, run):
        return "last"


class First(Plain):
    @hookimpl(tryfirst=True)
    def on_epoch_end(self):
        return "first"

    on_evaluation_end = hookimpl(lambda self, metrics: 3)


class Unmarked(Plain):
    def on_step_end(self):
        return "unmarked"


class Wraps:
    @hookimpl(wrapper=True)
    def on_epoch_end(self, run):
        return [*(yield), "wrapped"]


class Named:
    @hookimpl(specname="on_epoch_end")
    def at_the_end(self, run):
        return "named"


class Static:
    @staticmethod
    @hookimpl
    def on_epoch_end(run):
        return "static"

    @hookimpl
    @classmethod
    def on_epoch_start(cls):
        return cls.__name__


class Slotted:
    __slots__ = ("on_epoch_start",)

    def __init__(self):
        self.on_epoch_start = hookimpl(lambda run: "in a slot")

    @hookimpl
    def on_epoch_end(self):
        return "slotted"


class Holds(Plain):
    """Has a hook of its own."""

    def __init__(self):
        super().__init__()
        self.on_epoch_start = hookimpl(lambda run: "its own")


class Silenced(Plain):
    """Has switched a hook of its class off."""

    def __init__(self):
        super().__init__()
        self.on_epoch_end = None


class Unspecified(Plain):
    """Has a hook that nobody specified."""

    @hookimpl(optionalhook=True)
    def on_full_moon(self):
        return "howls"


class Empty:
    pass


KINDS = [Plain, First, Unmarked, Wraps, Named, Static, Slotted, Holds, Silenced, Unspecified, Empty]


def manager_of(kind, *more):
    specified = pluggy.PluginManager("oarlock")
    for specification in (hookspecs, *more):
        specified.add_hookspecs(specification)
    return specified if kind is pluggy.PluginManager else kind(specified)


def heard(manager):
    """What each hook's implementations are, in calling order, and what they return."""
    manager.check_pending()
    implementations = {caller: [(one.plugin_name, one.plugin, one.argnames, one.kwargnames, one.opts, one.wrapper)
                                for one in relay.get_hookimpls()]
                       for caller, relay in vars(manager.hook).items() if caller.startswith("on_")}  # fmt: skip
    returned = [manager.hook.on_epoch_start(run=1), manager.hook.on_epoch_end(run=1), manager.hook.on_step_end(run=1),
                manager.hook.on_evaluation_end(run=1, metrics={})]  # fmt: skip
    return implementations, returned, manager.list_name_plugin()


@given(kinds=st.lists(st.sampled_from(KINDS), max_size=6), named=st.booleans())
def test_what_is_registered_is_heard_as_by_pluggy_s_manager(kinds, named):
    plugins = [kind() for kind in kinds]
    managers = [manager_of(RunManager), manager_of(pluggy.PluginManager)]
    names = [[manager.register(one, f"part {number}" if named else None) for number, one in enumerate(plugins)]
             for manager in managers]  # fmt: skip
    assert names[0] == names[1]
    assert heard(managers[0]) == heard(managers[1])
    for plugin in plugins[:2]:
        assert managers[0].unregister(plugin) is plugin is managers[1].unregister(plugin)
    assert heard(managers[0]) == heard(managers[1])


class Moons:
    @pluggy.HookspecMarker("oarlock")(historic=True)
    def on_full_moon(self, phase):
        """A hook that those hear too who come late."""


@pytest.mark.parametrize("kind", [RunManager, pluggy.PluginManager])
def test_what_came_before_is_heard_afterwards_in_one_run_alone(kind):
    manager, other, told = manager_of(kind, Moons), manager_of(kind, Moons), []
    manager.hook.on_full_moon.call_historic(result_callback=told.append, kwargs={"phase": 1})
    manager.register(Unspecified())
    other.register(Unspecified())
    assert told == ["howls"]
    assert [len(one.hook.on_epoch_end.get_hookimpls()) for one in (manager, other)] == [1, 1]


def test_runs_of_one_host_share_no_implementation():
    host = load_host()
    one, other = host.run_manager(), host.run_manager()
    one.register(Plain(), "plain")
    assert one.hook.on_epoch_end(run=1) == ["last"]
    assert other.hook.on_epoch_end(run=1) == host.manager.hook.on_epoch_end(run=1) == []


class Mistaken:
    @hookimpl
    def on_epoch_end(self, runs):
        pass


def test_what_pluggy_refuses_is_refused():
    one, manager = Plain(), manager_of(RunManager)
    manager.register(one, "one")
    with pytest.raises(ValueError, match="registered"):
        manager.register(Plain(), "one")
    with pytest.raises(ValueError, match="registered under a different name"):
        manager.register(one, "two")
    with pytest.raises(pluggy.PluginValidationError, match="runs"):
        manager.register(Mistaken(), "mistaken")
    assert manager.list_name_plugin() == [("one", one)]
    manager.set_blocked("blocked")
    assert manager.register(Plain(), "blocked") is None
    assert manager.hook.on_epoch_end(run=1) == ["last"]


def test_a_module_and_a_class_are_registered():
    module = types.ModuleType("moments")
    module.on_epoch_end = hookimpl(lambda run: "module")
    manager = manager_of(RunManager)
    manager.register(module)
    manager.register(Static)
    assert manager.hook.on_epoch_end(run=1) == ["static", "module"]


class Closed(Plain):
    """Tells who looks into it, after which CPython 3.11 and 3.12 have no place for its attributes but a dict."""

    @property
    def __dict__(self):
        raise AssertionError("somebody looks into it")

    @hookimpl
    def on_step_end(self):
        self.first += 1


def test_nobody_looks_into_an_object_that_is_registered():
    closed, manager = Closed(), manager_of(RunManager)
    manager.register(closed, "closed")
    manager.hook.on_step_end(run=1)
    assert closed.first == 2
    with pytest.raises(AssertionError, match="somebody"):
        manager_of(pluggy.PluginManager).register(Closed())  # who does is told of


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_a_run_looks_into_no_callback(tmp_path, engine):
    closed = Closed()
    words = ["model.widths=[8]", "trainer.epochs=1", f"trainer.engine={engine}", f"hydra.run.dir={tmp_path}/run"]
    oarlock.train(words, hooks=[closed])
    assert closed.first == 34


def test_hooks_in_an_object_itself_are_called(tmp_path):
    seen = []
    moments = types.SimpleNamespace(on_epoch_end=hookimpl(lambda run: seen.append(run.epoch)))
    words = ["model.widths=[8]", "trainer.epochs=2", "trainer.max_steps=40", f"hydra.run.dir={tmp_path}/run"]
    oarlock.train(words, hooks=[moments])
    assert seen == [0]
    moments.on_step_end = print
    with pytest.raises(oarlock.UserError, match="on_step_end bears the name of a hook but is not marked"):
        oarlock.train(words, hooks=[moments])


def test_a_new_run_s_manager_has_all_hooks_and_no_implementation():
    manager = load_host().run_manager()
    relays = [relay for name, relay in vars(manager.hook).items() if not name.startswith("_")]
    assert len(relays) > 20
    assert not any(relay.get_hookimpls() for relay in relays)
