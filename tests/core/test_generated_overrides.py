"""Random override lists: what is valid composes to what was asked, what is not exits 2 in a few words."""

from __future__ import annotations

import dataclasses
import io
import itertools
from contextlib import redirect_stderr, redirect_stdout
from enum import Enum

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oarlock.cli import main
from oarlock.plugins import load_host
from oarlock.schema import CheckpointConfig, TrainerConfig

HOST = load_host()
REGISTRY = HOST.registry
ONE = [group for group in REGISTRY.groups.values() if not group.many and group.of_run and REGISTRY.options(group.name)]
MANY = [group for group in REGISTRY.groups.values() if group.many]

# Values that every component accepts; what a component accepts beyond them is its own test's business.
SPECIAL = {
    "milestones": st.lists(st.floats(0.01, 0.99), max_size=3).map(sorted),
    "widths": st.lists(st.integers(1, 9), min_size=1, max_size=3),
    "evaluate_every": st.sampled_from(["1 epoch", "7 steps", "3"]),
    "monitor": st.sampled_from(["valid/loss", "valid/accuracy"]),
    "keep": st.integers(2, 5),
    "min_norm": st.floats(0.1, 0.5),
    "max_norm": st.floats(0.6, 3),
    "balance_start": st.integers(0, 9),
    "balance_limit": st.integers(60, 90),
    "valid_fraction": st.floats(0.1, 0.3),
    "test_fraction": st.floats(0.1, 0.3),
    "root": st.sampled_from(["data", "a/b"]),
    "init_from": st.sampled_from(["runs/1", "x"]),
}


# What cannot be without a file; their own tests compose them.
OF_FILES = ("data/arrays", "data/csv", "data/update")


def options(group):
    """A strategy for the options of a group that need no other value."""
    return st.sampled_from([name for name in REGISTRY.options(group.name) if f"{group.name}/{name}" not in OF_FILES])


def values(field):
    """A strategy for a field's valid values."""
    if field.name in SPECIAL:
        return SPECIAL[field.name]
    if isinstance(field.default, Enum):
        return st.sampled_from([member.name for member in type(field.default)])
    if isinstance(field.default, bool):
        return st.booleans()
    kind = str(field.type)
    if "int" in kind:
        return st.integers(1, 30)
    if "float" in kind:
        return st.floats(0.01, 0.9)
    if kind == "str":
        return st.sampled_from(["one", "two words", "a/b"])
    return st.none()


def fields(cls):
    return [field for field in dataclasses.fields(cls) if not dataclasses.is_dataclass(field.type)
            and field.name != "checkpoint"]  # fmt: skip


def text(value):
    """A value as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not value.isidentifier():
        return f"'{value}'"
    return str(value).replace(" ", "")


@st.composite
def valid(draw):
    """A valid list of overrides, and what must come out at which path."""
    overrides, expected = [], {}
    settable = [("trainer.", field) for field in fields(TrainerConfig)]
    settable += [("trainer.checkpoint.", field) for field in fields(CheckpointConfig)]
    for group in ONE:
        name = draw(options(group))
        overrides.append(f"{group.name}={name}")
        settable += [(f"{group.name}.", field) for field in fields(REGISTRY.entries[f"{group.name}/{name}"].cls)]
    for group in MANY:
        names = draw(st.lists(st.sampled_from(REGISTRY.options(group.name)), unique=True, max_size=3))
        overrides.append(f"{group.name}=[{','.join(names)}]")
        expected[group.name] = names
        for name in names:
            cls = REGISTRY.entries[f"{group.name}/{name}"].cls
            settable += [(f"{group.name}.{name}.", field) for field in fields(cls)]
    for prefix, field in draw(
        st.lists(st.sampled_from(settable), unique_by=lambda item: item[0] + item[1].name, max_size=6)
    ):
        value = draw(values(field))
        overrides.append(f"{prefix}{field.name}={text(value)}")
        expected[prefix + field.name] = value
    return draw(st.permutations(overrides)), expected


def compose(overrides):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["train", "--cfg", "job", *overrides])
    return code, out.getvalue(), err.getvalue()


def check_valid(case):
    overrides, expected = case
    code, out, err = compose(overrides)
    assert code == 0, (overrides, err)
    config = yaml.safe_load(out)
    for path, value in expected.items():
        found = config
        for key in path.split("."):
            found = found[key]
        if path in REGISTRY.groups:
            assert list(found) == value
        elif isinstance(value, float):
            assert float(found) == value
        elif isinstance(value, list):
            assert list(map(float, found)) == value
        else:
            assert found == value or str(found) == str(value), (path, found, value)


def misspell(word, position, letter):
    """The word with one letter too many; never a word that exists."""
    position %= len(word)
    return word[:position] + letter + word[position:]


@st.composite
def invalid(draw):
    """A valid list with one fault, and a word that the message must have."""
    overrides, _ = draw(valid())
    position, letter = draw(st.integers(1, 20)), draw(st.sampled_from("qzx"))
    sign = draw(st.sampled_from(["", "+", "++"]))
    kind = draw(st.sampled_from(["group", "option", "field", "core", "type", "unchosen", "grammar", "root"]))
    if kind == "group":
        group = draw(st.sampled_from(ONE)).name
        fault, word = f"{misspell(group, position, letter)}={REGISTRY.options(group)[0]}", group
    elif kind == "option":
        entry = draw(st.sampled_from([e for e in REGISTRY.entries.values() if len(e.name) > 3 and e.group != "sweep"]))
        many = REGISTRY.groups[entry.group].many
        overrides = [o for o in overrides if not o.startswith(f"{entry.group}=")]
        overrides = [o for o in overrides if not o.startswith(f"{entry.group}.")]
        wrong = misspell(entry.name, position, letter)
        fault, word = f"{entry.group}={f'[{wrong}]' if many else wrong}", entry.name
    elif kind == "field":
        entry = draw(st.sampled_from([e for e in REGISTRY.entries.values() if fields(e.cls)
                                      and not REGISTRY.groups[e.group].many and e.group != "sweep"]))  # fmt: skip
        overrides = [o for o in overrides if not o.startswith((f"{entry.group}=", f"{entry.group}."))]
        overrides.append(f"{entry.group}={entry.name}")
        field = draw(st.sampled_from(fields(entry.cls))).name
        fault, word = f"{sign}{entry.group}.{misspell(field, position, letter)}=1", field
    elif kind == "core":
        field = draw(st.sampled_from(fields(TrainerConfig))).name
        fault, word = f"{sign}trainer.{misspell(field, position, letter)}=1", field
    elif kind == "type":
        path = draw(st.sampled_from(["trainer.epochs", "trainer.batch_size", "seed", "trainer.drop_last"]))
        overrides = [o for o in overrides if not o.startswith(path)]
        fault, word = f"{path}=many", path.split(".")[-1]
    elif kind == "unchosen":
        overrides = [o for o in overrides if not o.startswith("callback")] + ["callback=[progress]"]
        fault, word = "+callback.ema.decay=0.5", "callback=ema"
    elif kind == "grammar":
        fault, word = draw(st.sampled_from(["a=[1", "trainer.epochs", "x={", "=3"])), ""
    else:
        fault, word = f"{sign}{misspell('seed', position, letter)}=1", "seed"
    return [*overrides, fault], word


def check_invalid(case):
    overrides, word = case
    code, out, err = compose(overrides)
    assert code == 2, (overrides, out[-200:])
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) <= 4, err
    assert word in err, (overrides[-1], word, err)


ONCE = settings(max_examples=14, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
OFTEN = settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@ONCE
@given(valid())
def test_valid_overrides_compose_to_what_was_asked(case):
    check_valid(case)


@ONCE
@given(invalid())
def test_invalid_overrides_are_refused_and_the_nearest_is_named(case):
    check_invalid(case)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@OFTEN
@given(valid())
def test_a_thousand_valid(case):
    check_valid(case)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@OFTEN
@given(invalid())
def test_a_thousand_invalid(case):
    check_invalid(case)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("+optimizer.lr=3", "learning_rate"),
        ("optimizer.lr=3", "learning_rate"),
        ("+trainer.epohcs=3", "epochs"),
        ("optimizer=sdg", "sgd"),
        ("optimzer=sgd", "optimizer"),
        ("+regularizer.l2.coeficient=1", "regularizer=l2"),
        ("experiment=seed_mnits", "seed_mnist"),
    ],
)
def test_the_nearest_is_named(override, nearest):
    code, _, err = compose([override])
    assert code == 2
    assert nearest in err


@pytest.mark.parametrize("pair", list(itertools.combinations(["callback=[ema]", "+callback=[ema]", "callback=[]"], 2)))
def test_naming_a_list_group_twice_is_refused(pair):
    code, _, err = compose(list(pair))
    assert code == 2
    assert "as a list" in err
