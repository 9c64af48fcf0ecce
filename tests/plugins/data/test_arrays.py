"""NumPy's files: what is read, how it is split, and what is said of files that are not what they should be."""

import contextlib
import io

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock_plugins.data.arrays import ArrayFiles
from oarlock_plugins.data.labels import TargetKind
from tests.plugins.damage import damaged

NO_SPLIT = {"valid_fraction": 0.0, "test_fraction": 0.0}


def write(path, rows=20, width=3, seed=0, **arrays):
    rng = np.random.default_rng(seed)
    stored = {"inputs": rng.normal(size=(rows, width)), "targets": rng.integers(0, 3, rows), **arrays}
    np.savez(path, **stored)
    return stored


def test_rows_classes_and_types(tmp_path):
    stored = write(tmp_path / "rows.npz", targets=np.arange(20) % 3)
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), **NO_SPLIT).build_data()
    np.testing.assert_array_equal(data.train.inputs, stored["inputs"].astype("float32"))
    np.testing.assert_array_equal(data.train.targets, stored["targets"])
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.float32, np.int64)
    assert data.class_names == ["0", "1", "2"]
    assert data.valid is data.test is data.preprocess is None


def test_texts_are_classes_and_keep_the_order_that_is_given(tmp_path):
    write(tmp_path / "rows.npz", rows=4, targets=np.array(["cat", "ant", "cat", "bee"]))
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), **NO_SPLIT).build_data()
    assert data.class_names == ["ant", "bee", "cat"]
    assert data.train.targets.tolist() == [2, 0, 2, 1]
    names = ["cat", "bee", "ant", "dog"]
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), class_names=names, **NO_SPLIT).build_data()
    assert (data.class_names, data.train.targets.tolist()) == (names, [0, 2, 0, 1])


def test_other_numbers_are_values_to_predict(tmp_path):
    for shape in ((20,), (20, 1), (20, 2)):
        stored = write(tmp_path / "rows.npz", targets=np.random.default_rng(0).normal(size=shape))
        data = ArrayFiles(path=str(tmp_path / "rows.npz"), **NO_SPLIT).build_data()
        assert data.class_names is None
        assert data.output_shape == (shape[1:] or (1,))
        np.testing.assert_array_equal(data.train.targets, stored["targets"].reshape(20, -1).astype("float32"))


def test_whole_numbers_are_values_to_predict_where_that_is_said(tmp_path):
    prices = np.arange(20) * 50_000
    write(tmp_path / "rows.npz", targets=prices)
    write(tmp_path / "test.npz", targets=prices + 0.5)
    options = {"path": str(tmp_path / "rows.npz"), "test_path": str(tmp_path / "test.npz"), **NO_SPLIT}
    data = ArrayFiles(**options, target_kind=TargetKind.numbers).build_data()
    assert (data.class_names, data.output_shape, data.train.targets.dtype) == (None, (1,), np.float32)
    np.testing.assert_array_equal(data.train.targets, prices[:, None])
    write(tmp_path / "rows.npz", targets=np.arange(20) % 3 * 1.0)
    data = ArrayFiles(path=options["path"], target_kind=TargetKind.classes, **NO_SPLIT).build_data()
    assert (data.class_names, data.train.targets.dtype) == (["0", "1", "2"], np.int64)


def test_many_whole_numbers_are_asked_about(tmp_path):
    path, named = str(tmp_path / "rows.npz"), TargetKind.classes
    write(path, targets=np.arange(80, 100))
    assert len(ArrayFiles(path=path, **NO_SPLIT).build_data().class_names) == 100
    write(path, targets=np.arange(81, 101))
    with pytest.raises(
        oarlock.UserError, match=r"=targets: its whole numbers go up to 100\.\nSay what they are: data\.target_kind"
    ):
        ArrayFiles(path=path, **NO_SPLIT).build_data()
    assert len(ArrayFiles(path=path, target_kind=named, **NO_SPLIT).build_data().class_names) == 101
    write(path, targets=np.arange(20) + 1_700_000_000)
    with pytest.raises(oarlock.UserError, match=r"go up to 1700000019\.\nSay what they are"):
        ArrayFiles(path=path, **NO_SPLIT).build_data()
    with pytest.raises(
        oarlock.UserError, match=r"data\.target_kind=classes: data\.targets=targets goes up to 1700000019; expected"
    ):
        ArrayFiles(path=path, target_kind=named, **NO_SPLIT).build_data()


def test_shares_are_disjoint_and_depend_on_their_own_seed(tmp_path):
    write(tmp_path / "rows.npz", inputs=np.arange(20).reshape(20, 1))
    options = {"path": str(tmp_path / "rows.npz"), "valid_fraction": 0.25, "test_fraction": 0.2}
    data, again, other = (ArrayFiles(**options, split_seed=seed).build_data() for seed in (3, 3, 4))
    assert [len(part) for part in (data.train, data.valid, data.test)] == [11, 5, 4]
    assert sorted(np.concatenate([part.inputs for part in (data.train, data.valid, data.test)]).ravel()) == [*range(20)]
    np.testing.assert_array_equal(data.test.inputs, again.test.inputs)
    assert (data.test.inputs != other.test.inputs).any()


def test_files_of_their_own_take_the_place_of_shares(tmp_path):
    for name, first in (("rows", 0), ("valid", 100), ("test", 200)):
        write(tmp_path / f"{name}.npz", rows=10, inputs=np.arange(first, first + 10).reshape(10, 1))
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), valid_path=str(tmp_path / "valid.npz"),
                      test_path=str(tmp_path / "test.npz")).build_data()  # fmt: skip
    for part, first in ((data.train, 0), (data.valid, 100), (data.test, 200)):
        assert part.inputs.ravel().tolist() == [*range(first, first + 10)]


def test_a_class_that_only_the_test_has_is_a_class(tmp_path):
    write(tmp_path / "rows.npz", targets=np.zeros(20, int))
    write(tmp_path / "test.npz", targets=np.full(20, 4))
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), test_path=str(tmp_path / "test.npz")).build_data()
    assert data.class_names == ["0", "1", "2", "3", "4"]


def test_two_npy_files(tmp_path):
    inputs, targets = np.arange(12, dtype="uint8").reshape(6, 2), np.array([0, 1, 0, 1, 1, 1])
    np.save(tmp_path / "x.npy", inputs)
    np.save(tmp_path / "y.npy", targets)
    data = ArrayFiles(
        inputs=str(tmp_path / "x.npy"), targets=str(tmp_path / "y.npy"), scale=255, **NO_SPLIT
    ).build_data()
    np.testing.assert_array_equal(data.train.inputs, inputs)
    np.testing.assert_allclose(data.preprocess(paddle.to_tensor(inputs)).numpy(), inputs / 255, rtol=1e-6)


def test_several_inputs_reach_the_model_by_name(tmp_path):
    left, right = np.ones((8, 2)), np.arange(8)
    write(tmp_path / "rows.npz", rows=8, left=left, right=right)
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), several_inputs=["left", "right"], **NO_SPLIT).build_data()
    assert list(data.train.inputs) == ["left", "right"]
    np.testing.assert_array_equal(data.train.inputs["right"], right)
    assert data.model_spec().inputs["left"].shape == (2,)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


INPUTS = np.ones((3, 2), "float32")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(inputs=INPUTS, labels=[0, 1, 0]), r"data\.path=\S+: it has no array 'targets'"),
        (npz(inputs=INPUTS, target=[0, 1, 0]), r"it has no array 'targets'. Did you mean 'target'\?"),
        (npz(inputs=INPUTS, targets=[0, 1]), r"there are 3 rows of inputs and 2 targets"),
        (npz(inputs=INPUTS, targets=[0, -1, 0]), r"row 1: -1 is no class.*\nIf they are no classes, say data.target_kind=numbers"),
        (npz(inputs=INPUTS, targets=np.array([{}, 1, 2], object)), r"not a readable .npz file of numbers"),
        (npz(inputs=np.array([[1, 2], [1, np.nan], [1, 2]]), targets=[0, 1, 0]), r"inputs: row 1 .*not finite"),
        (npz(inputs=np.full((3, 1), 1e300), targets=[0, 1, 0]), r"beyond single precision"),
        (npz(inputs=INPUTS, targets=[0.0, 1.0, np.inf]), r"targets: row 2 .*not finite"),
        (npz(inputs=INPUTS[:0], targets=[]), r"inputs: it has no rows"),
        (npz(inputs=np.array(["a", "b"]), targets=[0, 1]), r"inputs is of type <U1; expected numbers"),
        (npz(inputs=np.ones(2, complex), targets=[0, 1]), r"inputs: it is of type complex128"),
        (b"", r"not a readable .npz file"),
        (b"PK\x03\x04 not a zip after all", r"not a readable .npz file"),
        (b"text", r"not a readable .npz file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, message):
    (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(oarlock.UserError, match=message):
        ArrayFiles(path=str(tmp_path / "rows.npz"), **NO_SPLIT).build_data()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_never_ends_in_a_traceback(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(damaged(data, npz(inputs=INPUTS, targets=[0, 1, 0])))
    try:
        found = ArrayFiles(path=str(path), **NO_SPLIT).build_data()
    except oarlock.UserError as refused:
        found = str(refused)
    if isinstance(found, str):
        assert str(path) in found
    else:
        assert found.train.inputs.shape == (3, 2)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_nor_does_one_of_a_pair(data, tmp_path_factory):
    inputs, targets = (tmp_path_factory.getbasetemp() / f"{name}.npy" for name in ("damaged", "targets"))
    np.save(inputs, INPUTS)
    np.save(targets, [0, 1, 0])
    inputs.write_bytes(damaged(data, inputs.read_bytes()))
    with contextlib.suppress(oarlock.UserError):
        ArrayFiles(inputs=str(inputs), targets=str(targets), **NO_SPLIT).build_data()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.path=none.npz"], r"data\.path=none\.npz: there is no such file"),
        ([], r"data\.path=FILE\.npz, or data\.inputs=X\.npy data\.targets=Y\.npy"),
        (["data.inputs=x.npy", "data.targets=y.npy"], r"data\.inputs=x\.npy: there is no such file"),
        (["data.path=x", "data.scale=0"], r"data\.scale=0\.0: expected more than 0"),
        (["data.path=x", "data.test_fraction=1"], r"expected two shares"),
        (["data.path=x", "data.class_names=[a,a]"], r"a name stands there twice"),
        (["data.path=x", "data.several_inputs=[a,b]", "data.scale=2"], r"data\.scale: it is for a single input"),
    ],
)
def test_options_that_cannot_be(train, options, message):
    with pytest.raises(oarlock.UserError, match=message):
        train("data=arrays", *options)


def test_prices_are_predicted(train, tmp_path):
    inputs = np.random.default_rng(0).normal(size=(400, 2))
    np.savez(tmp_path / "rows.npz", inputs=inputs, targets=(250_000 + 50_000 * inputs[:, 0]).astype("int64"))
    job = ["data=arrays", f"data.path={tmp_path / 'rows.npz'}", "model=linear", "task=regression", "trainer.epochs=1"]
    with pytest.raises(oarlock.UserError, match=r"Say what they are: data\.target_kind=numbers"):
        train(*job)
    assert np.isfinite(train(*job, "data.target_kind=numbers").result.metrics["test/rmse"])
    with pytest.raises(oarlock.UserError, match=r"Try task=classification, or data\.target_kind=numbers"):
        train(*job, "data.target_kind=classes")


def test_texts_are_no_numbers(tmp_path):
    write(tmp_path / "rows.npz", targets=np.array(["a", "b"] * 10))
    with pytest.raises(oarlock.UserError, match=r"data\.target_kind=numbers: data\.targets=targets holds texts"):
        ArrayFiles(path=str(tmp_path / "rows.npz"), target_kind=TargetKind.numbers).build_data()


def test_an_unknown_class_is_named_with_its_row(tmp_path):
    write(tmp_path / "rows.npz", rows=3, targets=np.array(["cat", "dgo", "cat"]))
    with pytest.raises(oarlock.UserError, match=r"row 1: 'dgo' is no class. Did you mean 'dog'\?"):
        ArrayFiles(path=str(tmp_path / "rows.npz"), class_names=["cat", "dog"], **NO_SPLIT).build_data()


def test_the_row_is_that_of_the_file_whatever_was_drawn(tmp_path):
    targets = np.arange(200) % 2
    targets[137] = -1
    write(tmp_path / "rows.npz", rows=200, targets=targets)
    with pytest.raises(oarlock.UserError, match=r"data\.path=\S+rows\.npz: row 137: -1 is no class"):
        ArrayFiles(path=str(tmp_path / "rows.npz")).build_data()
    np.save(tmp_path / "x.npy", np.ones((200, 2)))
    np.save(tmp_path / "y.npy", targets)
    with pytest.raises(oarlock.UserError, match=r"data\.targets=\S+y\.npy: row 137: -1 is no class"):
        ArrayFiles(inputs=str(tmp_path / "x.npy"), targets=str(tmp_path / "y.npy")).build_data()


def test_files_of_different_targets_are_refused(tmp_path):
    write(tmp_path / "rows.npz", targets=np.array(["a", "b"] * 10))
    write(tmp_path / "test.npz")
    with pytest.raises(oarlock.UserError, match="its files have different targets"):
        ArrayFiles(path=str(tmp_path / "rows.npz"), test_path=str(tmp_path / "test.npz")).build_data()


def test_it_learns_what_the_rows_say(train, tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 2))
    np.savez(tmp_path / "rows.npz", inputs=inputs, targets=np.where(inputs[:, 0] > inputs[:, 1], "left", "right"))
    run = train("data=arrays", f"data.path={tmp_path / 'rows.npz'}", "model.widths=[16]", "trainer.epochs=10")
    assert run.result.metrics["test/accuracy"] > 0.9


def test_classes_may_be_written_as_floats(tmp_path):
    write(tmp_path / "rows.npz", rows=3, targets=np.array([1.0, 0.0, 1.0]))
    data = ArrayFiles(path=str(tmp_path / "rows.npz"), class_names=["no", "yes"], **NO_SPLIT).build_data()
    assert data.train.targets.tolist() == [1, 0, 1]
    assert data.train.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("targets", "message"),
    [([0.0, 2.0, 1.0], r"row 1: 2\.0 is no class; expected 0 to 1"), ([0.0, 0.5, 1.0], r"the targets are float32")],
)
def test_other_floats_are_no_classes(tmp_path, targets, message):
    write(tmp_path / "rows.npz", rows=3, targets=np.array(targets))
    with pytest.raises(oarlock.UserError, match=message):
        ArrayFiles(path=str(tmp_path / "rows.npz"), class_names=["no", "yes"], **NO_SPLIT).build_data()
