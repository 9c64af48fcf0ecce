"""CSV files: what is read, what a target column is taken for, and which line is named where it cannot be read."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock_plugins.data.csv import CsvFile, Delimiter, TargetKind

NO_SPLIT = {"valid_fraction": 0.0, "test_fraction": 0.0}
POINTS = "x,y,kind\n1,2,in\n3,4.5,out\n-1,1e1,in\n"


def load(folder, text, target="kind", **options):
    path = folder / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvFile(path=str(path), target=target, **{**NO_SPLIT, **options}).build_data()


def test_columns_in_the_files_order_and_classes_sorted(tmp_path):
    data = load(tmp_path, POINTS)
    assert data.train.inputs.tolist() == [[1, 2], [3, 4.5], [-1, 10]]
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.float32, np.int64)
    assert (data.class_names, data.train.targets.tolist()) == (["in", "out"], [0, 1, 0])


def test_chosen_columns_in_the_order_that_is_given(tmp_path):
    assert load(tmp_path, POINTS, features=["y", "x"]).train.inputs.tolist() == [[2, 1], [4.5, 3], [10, -1]]
    assert load(tmp_path, POINTS, features=["y"]).train.inputs.tolist() == [[2], [4.5], [10]]


@pytest.mark.parametrize(
    ("values", "kind", "names", "targets"),
    [
        (["10", "9", "10"], "auto", ["9", "10"], [1, 0, 1]),
        (["1.5", "2", "3"], "auto", None, [[1.5], [2], [3]]),
        (["1", "2", "3"], "numbers", None, [[1], [2], [3]]),
        (["1.5", "2", "1.5"], "classes", ["1.5", "2"], [0, 1, 0]),
        (["no", "yes", "no"], "auto", ["no", "yes"], [0, 1, 0]),
        (["1E5", "A3", "1E5"], "classes", ["1E5", "A3"], [0, 1, 0]),
    ],
)
def test_what_the_target_column_is_taken_for(tmp_path, values, kind, names, targets):
    text = "kind,x\n" + "".join(f"{value},{row}\n" for row, value in enumerate(values))
    data = load(tmp_path, text, target_kind=TargetKind[kind])
    assert (data.class_names, data.train.targets.tolist()) == (names, targets)
    assert data.output_shape == (None if names else (1,))


def test_many_whole_numbers_are_asked_about(tmp_path):
    text = "price,x\n" + "".join(f"{1000 + row},{row}\n" for row in range(200))
    with pytest.raises(oarlock.UserError, match=r"200 different whole numbers.\nSay what they are: data\.target_kind"):
        load(tmp_path, text, "price")
    assert load(tmp_path, text, "price", target_kind=TargetKind.numbers).class_names is None
    assert len(load(tmp_path, text, "price", target_kind=TargetKind.classes).class_names) == 200


def test_the_form_of_the_file_does_not_matter(tmp_path):
    plain = load(tmp_path, POINTS)
    for text in (POINTS.replace("\n", "\r\n"), POINTS.encode("utf-8-sig"), POINTS.rstrip(), POINTS.replace(",", " , "),
                 POINTS.replace("1,2,in", '"1","2","in"'), POINTS.replace("in\n", "in\n\n")):  # fmt: skip
        data = load(tmp_path, text)
        np.testing.assert_array_equal(data.train.inputs, plain.train.inputs)
        assert (data.class_names, data.train.targets.tolist()) == (["in", "out"], [0, 1, 0])
    for delimiter in Delimiter:
        data = load(tmp_path, POINTS.replace(",", delimiter.value), delimiter=delimiter)
        np.testing.assert_array_equal(data.train.inputs, plain.train.inputs)


def test_standardised_by_the_training_rows_alone(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(5, 3, 100), rng.normal(-1000, 0.1, 100), np.full(100, 7.0)], axis=1)
    text = "a,b,c,kind\n" + "".join(f"{a},{b},{c},{'uv'[row % 2]}\n" for row, (a, b, c) in enumerate(rows))
    data = load(tmp_path, text, test_fraction=0.5, split_seed=2)
    seen = data.preprocess(paddle.to_tensor(data.train.inputs)).numpy()
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=2e-4)
    np.testing.assert_allclose(seen.std(axis=0), [1, 1, 0], atol=2e-3)
    other = data.preprocess(paddle.to_tensor(data.test.inputs)).numpy()
    assert abs(other[:, 0].mean()) > 0.01
    assert load(tmp_path, text, standardise=False).preprocess is None


def test_a_column_of_any_scale_is_standardised(tmp_path):
    drawn = np.random.default_rng(0).uniform(-1, 1, 100)
    rows = [5.5e-7 + 1e-7 * drawn, 1e-30 * drawn, 1e7 + (drawn > 0), np.full(100, 3e-9), 1e-42 * drawn]
    text = "a,b,c,d,e,kind\n" + "".join(f"{','.join(map(repr, row))},in\n" for row in np.stack(rows, axis=1).tolist())
    data = load(tmp_path, text)
    seen = data.preprocess(paddle.to_tensor(data.train.inputs)).numpy()
    # One that never changes is only shifted, as is one whose factor is beyond single precision.
    np.testing.assert_allclose(seen.std(axis=0), [1, 1, 1, 0, 0], atol=2e-3)


def test_a_column_that_single_precision_cannot_tell_apart_is_told_of(tmp_path, capfd):
    for name, values in (("time", range(1_700_000_000, 1_700_000_200)), ("year", range(1900, 2100)),
                         ("hour", range(1_700_000_000, 1_800_000_000, 3600)), ("always", [0.1] * 100)):  # fmt: skip
        load(tmp_path, f"{name},kind\n" + "".join(f"{value},in\n" for value in values))
    assert capfd.readouterr().err == (
        f"warning: data.path={tmp_path / 'rows.csv'}: in single precision 1700000000 and 1700000001 of time are the same; "
        "subtract an offset from it before\n")  # fmt: skip


def test_files_of_their_own_take_the_place_of_shares(tmp_path):
    (tmp_path / "test.csv").write_text("kind,y,x\nother,1,2\n")
    data = load(tmp_path, POINTS, test_path=str(tmp_path / "test.csv"))
    assert data.class_names == ["in", "other", "out"]
    assert (data.test.inputs.tolist(), data.test.targets.tolist()) == ([[2, 1]], [1])  # by name, not by place
    assert len(data.train) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", r"data\.target=kind: data\.path=\S+rows\.csv has no such column"),
        ("x,kid\n1,2\n", r"Did you mean 'kid'\?"),
        ("x,kind\n1,in\n1,2,in\n", r"rows\.csv, line 3: the header has 2 columns, this row has 3"),
        ("x,kind\n1,in\n1\n", r"line 3: the header has 2 columns, this row has 1"),
        (
            "x,kind\n1,in\n\n\none,in\n",
            r"line 5: x is 'one'; expected a finite number\.\nIf .* not for the model, .* data\.features=\[…\]",
        ),
        ("x,kind\n1,in\n,in\n", r"line 3: x is ''; expected a finite number"),
        ("x,kind\n1,in\nnan,in\n", r"line 3: x is 'nan'"),
        ("x,kind\n1e39,in\n", r"line 2: x is '1e39'"),
        (
            "x,kind\n1,1.5\n1,two\n",
            r"line 3: kind is 'two'; expected a finite number\.\nIf these are classes, say data\.target_kind=classes",
        ),
        ("x,kind\n1,in\n2,\n", r"line 3: kind is missing"),
        ("x,kind\n1,1.5\n2, \n", r"line 3: kind is missing"),
        ("x,x,kind\n1,2,3\n", r"two columns are called 'x'"),
        ("x,kind\n", r"it has no rows below its header"),
        ("kind\nin\n", r"it has no column beside 'kind'"),
        ("", r"no rows below its header"),
        (b"x,kind\n1,\xff\xfe\n", r"not a readable CSV file"),
        ('x,kind\n1,"in\n', r"not a readable CSV file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, message):
    with pytest.raises(oarlock.UserError, match=message):
        load(tmp_path, text)


@settings(max_examples=200, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=60), st.text('ab1,"\n\r;. -e', max_size=40).map(lambda text: text.encode()))
)
def test_no_file_ends_in_a_traceback(content, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    for text in (content, b"x,kind\n" + content):
        try:
            data = load(folder, text)
        except oarlock.UserError as refused:
            data = str(refused)
        if isinstance(data, str):
            assert "rows.csv" in data
        else:
            assert np.isfinite(data.train.inputs).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"data\.path: a value is needed"),
        (["data.path=none.csv", "data.target=x"], r"data\.path=none\.csv: there is no such file"),
        (
            ["data.path=x", "data.target=x", "data.delimiter=ab"],
            r"data\.delimiter: Invalid value 'ab', expected one of",
        ),
        (["data.path=x", "data.target=x", "data.features=[x]"], r"data\.features=\['x'\]: 'x' is the target"),
        (["data.path=x", "data.target=x", "data.class_names=[a,a]"], r"a name stands there twice"),
    ],
)
def test_options_that_cannot_be(train, options, message):
    with pytest.raises(oarlock.UserError, match=message):
        train("data=csv", *options)


def test_a_class_that_is_none_of_those_given_is_named_with_its_line(tmp_path):
    with pytest.raises(oarlock.UserError, match=r"rows\.csv, line 3: 'out' is no class. Did you mean 'about'\?"):
        load(tmp_path, POINTS, class_names=["in", "about"])


def test_it_learns_what_the_rows_say(train, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal([1000, 0], [100, 1e-3], size=(400, 2))
    kinds = np.where((rows[:, 0] - 1000) / 100 > rows[:, 1] / 1e-3, "left", "right")
    lines = [f"{a},{b},{kind}\n" for (a, b), kind in zip(rows, kinds, strict=True)]
    (tmp_path / "rows.csv").write_text("a,b,kind\n" + "".join(lines))
    run = train("data=csv", f"data.path={tmp_path / 'rows.csv'}", "data.target=kind", "model.widths=[16]",
                "trainer.epochs=10")  # fmt: skip
    assert run.result.metrics["test/accuracy"] > 0.9
