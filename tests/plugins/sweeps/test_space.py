"""The overrides of a sweep, taken apart; the grids beside those that Hydra itself makes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock import UserError
from oarlock_plugins.sweeps.search import grid
from oarlock_plugins.sweeps.space import MOST_VALUES, assignments, parse_space

GROUPS = {"optimizer": ["adam", "adamw", "momentum", "sgd"], "callback": ["ema"], "experiment": ["a", "b"]}
LOADER = SimpleNamespace(get_group_options=lambda group, results_filter: GROUPS.get(group, []))


def parse(*overrides):
    return parse_space(overrides, GROUPS.__contains__, LOADER)


def one(override):
    (parameter,) = parse(override).parameters
    return parameter


def refused(*overrides):
    """What is said of them: each as it was typed, in few lines."""
    with pytest.raises(UserError) as error:
        parse(*overrides)
    message = str(error.value)
    assert message.startswith(" ".join(overrides))
    assert len(message.splitlines()) <= 3
    return message


def test_overrides_are_fixed_or_swept_and_choose_components_or_values():
    space = parse(
        "a=1", "optimizer=sgd,adam", "~c", "+callback=[ema]", "optimizer.beta1=0.8,0.9", "+d.x=1,2",
        "model@task.x=p", "data@task.y=p,q", "b='1,2'", "experiment=a",
    )  # fmt: skip
    assert space.fixed_values == ["a=1", "b='1,2'"]
    assert space.fixed_structure == ["~c", "+callback=[ema]", "model@task.x=p", "experiment=a"]
    assert [(found.key, found.structural) for found in space.parameters] == [
        ("optimizer", True), ("optimizer.beta1", False), ("+d.x", True), ("data@task.y", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "choices"),
    [
        ("1,2", ["1", "2"]),
        ("choice(1,2)", ["1", "2"]),
        ("1,2,1", ["1", "2"]),
        ("'x,y',z", ["'x,y'", "z"]),
        ('"x,y","u"', ['"x,y"', '"u"']),
        (r"'it\'s','[1,2]'", [r"'it\'s'", "'[1,2]'"]),
        ("1 epoch,5 steps", [r"1\ epoch", r"5\ steps"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("[a],[]", ["[a]", "[]"]),
        ("{x:1,y:2},{x:3}", ["{x:1,y:2}", "{x:3}"]),
        ("null,1", ["null", "1"]),
        ("range(4)", ["0", "1", "2", "3"]),
        ("range(2,9,3)", ["2", "5", "8"]),
        ("range(5,0,-2)", ["5", "3", "1"]),
        ("range(0,1,0.25)", ["0.0", "0.25", "0.5", "0.75"]),
        ("range(1.0,0.0,-0.5)", ["1.0", "0.5"]),
        ("float(range(1,4))", ["1.0", "2.0", "3.0"]),
        ("int(range(1.5,4.5))", ["1", "2", "3"]),
        ("int(1.2,2.7)", ["1", "2"]),
        ("str(1,2)", ["'1'", "'2'"]),
        ("sort(3,1,2)", ["1", "2", "3"]),
        ("sort(3,1,2,reverse=true)", ["3", "2", "1"]),
        ("sort(range(1,4),reverse=true)", ["3", "2", "1"]),
    ],
)
def test_a_list_has_these_values(value, choices):
    expected = [str(choice) for choice in OverridesParser.create().parse_override(f"a={value}").sweep_string_iterator()]
    assert list(dict.fromkeys(expected)) == list(one(f"a={value}").choices)
    if not value.startswith("str("):
        assert list(one(f"a={value}").choices) == choices


def test_a_glob_is_the_options_of_its_group():
    assert one("optimizer=glob(*)").choices == ("adam", "adamw", "momentum", "sgd")
    assert one("optimizer=glob(a*)").choices == ("adam", "adamw")
    assert one("optimizer=glob(*,exclude=[a*])").choices == ("momentum", "sgd")


def test_what_is_shuffled_is_the_same_space_in_any_order():
    shuffled = [one(f"a=shuffle({value})") for value in ["1,2,3", "choice(3,2,1)", "range(1,4)"] * 5]
    assert all(set(found.choices) == {"1", "2", "3"} for found in shuffled)
    # A sweep that is resumed compares this line with the one that it was begun with.
    assert {found.describe() for found in shuffled} == {"1,2,3"}
    assert one("a=3,1,2").describe() == "3,1,2"


@pytest.mark.parametrize(
    ("value", "low", "high", "integer", "log"),
    [
        ("interval(0,1)", 0.0, 1.0, False, False),
        ("interval(-1.5,2)", -1.5, 2.0, False, False),
        ("int(interval(1,8))", 1, 8, True, False),
        ("int(interval(1.5,8.9))", 1, 8, True, False),
        ("float(interval(1,8))", 1.0, 8.0, False, False),
        ("tag(log,interval(1e-4,1e-1))", 1e-4, 1e-1, False, True),
        ("tag(log,int(interval(1,64)))", 1, 64, True, True),
        ("int(tag(log,interval(1,64)))", 1, 64, True, True),
        ("tag(interval(1,2))", 1.0, 2.0, False, False),
    ],
)
def test_an_interval_has_these_ends(value, low, high, integer, log):
    found = one(f"a={value}")
    assert (found.low, found.high, found.integer, found.log) == (low, high, integer, log)
    assert type(found.low) is type(found.high) is type(low)
    assert found.choices == ()
    assert not parse(f"a={value}").finite


@pytest.mark.parametrize("value", ["interval(0.5,2)", "int(interval(1,8))", "tag(log,int(interval(1,8)))"])
def test_an_interval_is_described_as_it_can_be_typed(value):
    found = one(f"a={value}")
    assert one(f"a={found.describe()}") == found


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("a=range(5,0)", "no value"),
        ("a=range(0,0)", "no value"),
        ("a=range(0,4,-1)", "no value"),
        ("a=range(0,4,0)", "zero"),
        ("a=range(0.0,4.0,0.0)", "step:0"),
        ("a=range(0,10000000000)", "100,000"),
        ("a=range(0,1,1e-9)", "100,000"),
        # Hydra makes a list of it before the first value comes out.
        ("a=shuffle(range(0,10000000000))", "100,000"),
        ("a=interval(8,1)", "the smaller one first"),
        ("a=interval(1,1)", "the smaller one first"),
        ("a=int(interval(0.2,0.9))", "the smaller one first"),
        ("a=interval(0,inf)", "finite"),
        ("a=interval(nan,1)", "finite"),
        ("a=tag(log,interval(0,1))", "above 0"),
        ("a=tag(log,interval(-1,1))", "above 0"),
        ("a=tag(lin,interval(1,2))", "'lin'"),
        ("a=tag(log,lin,interval(1,2))", "'lin'"),
        ("a=tag(log,choice(1,2))", "'log'"),
        ("a=tag(log,range(1,4))", "'log'"),
        ("optimizer=interval(0,1)", "list"),
        ("+a=interval(0,1)", "list"),
        ("optimizer=glob(zz*)", "no value"),
        ("a=glob(*)", "no value"),
        # From a file these come here unread.
        ("a=choice()", "empty choice"),
        ("a=choice(1", "no viable"),
        ("a=tag(log,1,2)", "int is incompatible"),
        ("a=interval(1)", "'end'"),
        ("a=str(range(1,4))", "cast"),
        ("a", "EQUAL"),
    ],
)
def test_what_means_nothing_is_refused_by_its_name(override, word):
    assert word in refused(override)


def test_the_most_values_are_a_range_of_so_many():
    assert len(one(f"a=range(0,{MOST_VALUES})").choices) == MOST_VALUES
    assert "100,000" in refused(f"a=range(0,{MOST_VALUES + 1})")


@pytest.mark.parametrize("pair", [("a=1,2", "a=3,4"), ("a=1", "a=1,2"), ("a=1,2", "a=1"),
                                  ("+callback=[ema]", "+callback=[],[ema]"), ("x@a.b=1,2", "x@a.b=2")])  # fmt: skip
def test_what_is_swept_over_is_given_once(pair):
    assert "given twice" in refused(*pair)


def test_two_packages_of_a_group_are_two_parameters():
    assert [found.key for found in parse("x@a=1,2", "x@b=1,2", "x@c=1").parameters] == ["x@a", "x@b"]


def test_of_two_fixed_values_hydra_takes_the_last():
    assert parse("a=1", "a=2", "b=1,2").fixed_values == ["a=1", "a=2"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=8)


def quoted(text):
    """A string in single quotes, where a backslash before the end or a quote must be doubled."""
    return "'" + text.replace("\\", "/").replace("'", r"\'") + "'"


ELEMENTS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.booleans().map(str),
    st.just("null"),
    TEXTS.map(quoted),
    st.from_regex(r"[a-z_][a-z0-9_./-]{0,6}", fullmatch=True),
    st.lists(st.integers(0, 99), max_size=3).map(lambda values: str(values).replace(" ", "")),
    st.integers(0, 9).map(lambda value: f"{{x:{value},y:[{value}]}}"),
)
LISTS = st.lists(ELEMENTS, min_size=2, max_size=4, unique=True).map(",".join)
RANGES = st.one_of(
    st.builds("range({0},{1},{2})".format, st.integers(-3, 0), st.integers(1, 5), st.integers(1, 3)),
    st.builds("range({1},{0},-{2})".format, st.integers(-3, 0), st.integers(1, 5), st.integers(1, 3)),
    st.builds("float(range({0},{1}))".format, st.integers(-3, 0), st.integers(1, 3)),
    st.builds("range({0},{1},{2})".format, st.floats(-1, 0), st.floats(0.5, 1), st.floats(0.2, 0.6)),
)
# Hydra's choice(…) takes no null.
CHOICES = LISTS.filter(lambda values: "null" not in values).map("choice({})".format)
VALUES = st.one_of(LISTS, CHOICES, RANGES, ELEMENTS)


def hydras_grid(overrides):
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    points = BasicSweeper.split_arguments(parsed, None)[0]
    return [[text for text in point if text.partition("=")[0] in swept] for point in points]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_the_grid_is_the_one_that_hydra_makes(values):
    overrides = [f"a{number}={value}" for number, value in enumerate(values)]
    space = parse(*overrides)
    everything = SimpleNamespace(space=space, combination=lambda values: (), applies=lambda combination, key: True)
    # Values that are written alike come once here, twice there.
    expected = list(dict.fromkeys(map(tuple, hydras_grid(overrides))))
    assert [tuple(assignments(point.items())) for point in grid(everything)] == expected


@settings(max_examples=100, deadline=None, derandomize=True)
@given(LISTS)
def test_a_value_that_is_written_out_reads_as_itself(values):
    parser = OverridesParser.create()
    meant = [getattr(value, "text", value) for value in parser.parse_override(f"a={values}").value().list]
    read = [parser.parse_override(f"a={text}").value() for text in one(f"a={values}").choices]
    assert list(map(repr, read)) == list(dict.fromkeys(map(repr, meant)))


PIECES = ["1", "2.5", "-1", "0", "1e400", "nan", "null", "true", "x", "'a,b'", '"', "'", "[", "]", "{", "}", "(", ")", ",",
          ":", "=", "choice", "range(", "interval(", "tag(log,", "glob(", "sort(", "shuffle(", "int(", "float(", "step=",
          "reverse=true", "*", "~", "+", "@", " ", "\\", "${a}", "é"]  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(["a", "a.b", "optimizer", "+callback", "~x", "x@y"]), st.lists(st.sampled_from(PIECES), max_size=9)
)
def test_whatever_is_typed_is_read_or_refused_by_its_name(key, pieces):
    override = f"{key}={''.join(pieces)}"
    try:
        space = parse(override)
    except UserError:
        refused(override)
    else:
        fixed = space.fixed_values + space.fixed_structure
        assert fixed == [override] or [found.key for found in space.parameters] == [key]
