"""Components are made of their configuration as OmegaConf makes them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.config import compose
from oarlock.errors import UserError
from oarlock.instantiation import instantiate
from oarlock.plugins import load_host


class Colour(enum.Enum):
    red = 1
    green = 2


@dataclass
class Inner:
    size: int = 3
    share: float = 0.5


@dataclass
class Everything:
    count: int = 1
    rate: float = 0.25
    name: str = "plain"
    on: bool = True
    maybe: int | None = None
    colour: Colour = Colour.red
    where: Path = Path("here")
    raw: bytes = b"raw"
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    nested: list[list[float]] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)
    inners: list[Inner] = field(default_factory=lambda: [Inner(1)])
    named: dict[str, int] = field(default_factory=dict)
    anything: Any = None
    made: int = field(init=False, default=7)


@dataclass
class Plain:
    count: int = 1
    colour: Colour = Colour.red
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    inner: Inner = field(default_factory=Inner)
    text: str = ""
    maybe: int | None = None
    named: dict[str, int] = field(default_factory=dict)


@dataclass
class Sums:
    """Refuses some values, as a component may."""

    first: int = 0
    second: int = 0

    def __post_init__(self) -> None:
        if self.first > self.second:
            raise ValueError("first must not be above second")
        self.total = self.first + self.second


@dataclass
class Empty:
    def __len__(self) -> int:
        return 0


@pytest.fixture(scope="module")
def whole():
    """A whole configuration with a node as its model, where its references lead."""
    config = compose(load_host(), []).config
    OmegaConf.set_struct(config, False)

    def put(node):
        config._set_item_impl("model", node)
        return config

    return put


@pytest.fixture(scope="module")
def made(whole):
    """What `instantiate` makes of a node."""
    registry = load_host().registry
    return lambda node: instantiate(whole(node), registry)["model"]


def test_every_component_is_what_omegaconf_makes(made):
    for entry in load_host().registry.entries.values():
        node = OmegaConf.structured(entry.cls)
        if OmegaConf.missing_keys(node):
            continue
        one, other = made(node), OmegaConf.to_object(node)
        assert type(one) is type(other) is entry.cls
        assert vars(one).keys() == vars(other).keys()


@pytest.mark.parametrize("kind", [Everything, Plain, Sums, Empty, Inner])
def test_options_of_every_type(made, kind):
    one, other = made(OmegaConf.structured(kind)), OmegaConf.to_object(OmegaConf.structured(kind))
    assert one == other
    assert vars(one) == vars(other)
    assert [type(value) for value in vars(one).values()] == [type(value) for value in vars(other).values()]


values = st.fixed_dictionaries({}, optional={
    "count": st.integers(), "colour": st.sampled_from(["red", "green"]), "sizes": st.lists(st.integers(), max_size=3),
    "inner": st.fixed_dictionaries({}, optional={"size": st.integers(), "share": st.floats(allow_nan=False)}),
    "text": st.one_of(st.text(max_size=8), st.sampled_from(["???", "${model.count}", "${model.inner.size}", r"\${seed}", "$", "{x}"])),
    "maybe": st.one_of(st.none(), st.sampled_from(["${seed}", "${model.count}", "${model.text}"]), st.integers()),
    "named": st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
})  # fmt: skip


@given(values)
def test_it_is_what_omegaconf_makes(made, whole, given):
    node = OmegaConf.merge(OmegaConf.structured(Plain), given)
    try:
        expected = OmegaConf.to_object(whole(node).model)
    except OmegaConfBaseException:
        with pytest.raises((OmegaConfBaseException, UserError)):
            made(node)
        return
    assert made(node) == expected


def test_lists_are_a_component_s_own(made):
    node = OmegaConf.structured(Plain)
    first, second = made(node), made(node)
    first.sizes.append(3)
    assert second.sizes == [1, 2] == OmegaConf.to_object(node).sizes


def test_what_refuses_its_values_says_why(made):
    with pytest.raises(UserError, match="first must not be above second"):
        made(OmegaConf.merge(OmegaConf.structured(Sums(1, 2)), {"first": 3}))
