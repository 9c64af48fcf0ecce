"""The text of config.yaml reads back as the values that it was made of, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from oarlock.config import compose
from oarlock.config_files import read_plain
from oarlock.config_text import config_text
from oarlock.plugins import load_host

TRICKY = [
    "1e-3",
    "yes",
    "null",
    "~",
    "0x1f",
    "1_000",
    "12:30:45",
    "2020-01-01",
    ".inf",
    "",
    "- x",
    "a: b",
    "#c",
    "ü",
    "é\x85",
]
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from("\\${}a:'"), max_size=9)
words = st.one_of(st.sampled_from(TRICKY), texts)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("texts") / "config.yaml"


@settings(max_examples=200, deadline=None)
@given(st.lists(scalars | st.lists(scalars, max_size=3), max_size=6))
def test_it_reads_back_the_same(file, values):
    file.write_text(config_text({"values": values}), encoding="utf-8", newline="")
    found = read_plain(file)[0]["values"]
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


def test_a_usual_configuration_is_what_omegaconf_writes():
    values = OmegaConf.to_container(compose(load_host(), []).config, resolve=True, enum_to_str=True)
    assert config_text(values) == OmegaConf.to_yaml(OmegaConf.create(values))


def test_what_json_would_change_is_what_it_was():
    values = {"keys": {1: "one", 2.5: "more"}, "bytes": b"\x00", "endless": [float("inf"), float("-inf")], "empty": {}}
    for _ in range(2):
        assert OmegaConf.to_container(OmegaConf.create(config_text(values))) == values
    assert config_text({}) == "{}\n"
