"""Rows that are the same, rows that are kept, and files that become rows of a model's kind."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock import Arrays, Data, InputSpec
from oarlock_plugins.data.csv import CsvFile
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.updates import store
from oarlock_plugins.service.updates.reading import Reader
from oarlock_plugins.service.updates.rows import can_be_told_apart, drawn, joined, mark, new_among, new_files


def rows(*pairs):
    return Arrays(np.array([[one] for one, _ in pairs], "float32"), np.array([two for _, two in pairs]))


def pairs(arrays):
    return list(zip(arrays.inputs.ravel().tolist(), arrays.targets.tolist(), strict=True))


def test_what_is_new():
    brought = rows((1, 0), (2, 0), (3, 1), (3, 1), (4, 1), (2, 1))
    new, known, held = new_among(brought, [rows((2, 0))], [rows((4, 0))])
    assert pairs(new) == [(1, 0), (3, 1), (2, 1)]  # once each; another target is another row
    assert (known, held) == (2, 1)  # a row that is held out is not learned, whatever its target
    assert new_among(rows((2, 0)), [rows((2, 0))], []) == (None, 1, 0)


def test_rows_of_few_values_are_not_the_same_for_being_equal():
    assert can_be_told_apart([rows((1, 0), (1, 0), (2, 0)), rows((3, 0))])
    assert not can_be_told_apart([rows((1, 0), (2, 0)), rows((2, 1))])


def test_where_rows_are_not_known_again_whole_files_are(tmp_path):
    """Night after night a folder has all files of before, and one more."""
    one, two, held = rows((1, 0), (1, 0)), rows((2, 0), (1, 0)), rows((1, 0), (2, 1))
    new, known, out = new_files([one, held, one, two], set(), {mark(held)})
    assert ([len(part) for part in new], known, out) == ([2, 2], 2, 2)
    kept = store.keep(tmp_path, joined(new), [mark(part) for part in new])
    np.testing.assert_array_equal(store.kept(kept).inputs, joined(new).inputs)
    three = rows((1, 0), (2, 0))  # the rows of `two`, but not that file
    new, known, out = new_files([one, two, held, three], store.marks_of(kept), {mark(held)})
    assert ([mark(part) for part in new], known, out) == ([mark(three)], 4, 2)
    assert store.marks_of(store.keep(tmp_path, one)) == set()


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 50), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_share_is_drawn_by_its_seed(count, share, seed):
    everything = rows(*((number, 0) for number in range(count)))
    one, again = drawn(everything, share, seed), drawn(everything, share, seed)
    assert pairs(one) == pairs(again)
    assert len({*pairs(one)}) == len(one) == max(round(count * share), int(share > 0))


def test_kept_rows_come_back_and_damage_is_seen(tmp_path):
    for inputs in (np.arange(6, dtype="uint8").reshape(3, 2), {"a": np.ones((3, 1)), "b": np.arange(3)}):
        path = store.keep(tmp_path, Arrays(inputs, np.array([1, 0, 1])))
        assert store.keep(tmp_path, Arrays(inputs, np.array([1, 0, 1]))) == path
        found = store.kept(path)
        np.testing.assert_array_equal(found.targets, [1, 0, 1])
        if isinstance(inputs, dict):
            assert list(found.inputs) == ["a", "b"]
        else:
            assert found.inputs.dtype == np.uint8
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 255
        path.write_bytes(changed)
        try:
            same = store.kept(path)
        except oarlock.UserError as refused:
            same = str(refused)
        if isinstance(same, str):
            assert "it is damaged" in same
        else:  # a byte of the archive that means nothing
            np.testing.assert_array_equal(same.inputs["b"], [0, 1, 2])
    path.unlink()
    with pytest.raises(oarlock.UserError, match="there is no such file"):
        store.kept(path)


def reader(inputs, **data):
    specs = {one.name: InputSpec(one.shape, one.dtype) for one in inputs}
    return Reader(object(), Data(None, inputs=specs if len(specs) > 1 else specs["inputs"], **data), inputs)


IMAGE = (TensorSpec("inputs", "uint8", (2, 2)),)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 4)])
def test_arrays_get_the_models_type_and_shape(tmp_path, dtype, shape):
    np.savez(tmp_path / "a.npz", inputs=np.arange(12).reshape(shape).astype(dtype), targets=[0, 1, 1])
    found = reader(IMAGE, class_names=["no", "yes"]).read([tmp_path / "a.npz"], "--data")
    np.testing.assert_array_equal(found.inputs, np.arange(12, dtype="uint8").reshape(3, 2, 2))
    assert found.inputs.dtype == np.uint8
    assert found.targets.tolist() == [0, 1, 1]


def test_csv_npy_and_folders(tmp_path):
    (tmp_path / "b.csv").write_text("a,b,target,c,d\n1,2,yes,3,4\n5,6,0,7,8\n")
    np.save(tmp_path / "x.npy", np.ones((2, 4)))
    np.save(tmp_path / "y.npy", np.array(["no", "yes"]))
    read = reader(IMAGE, class_names=["no", "yes"]).read
    with pytest.raises(oarlock.UserError, match=r"b\.csv, line 3: '0' is no class"):
        read([tmp_path / "b.csv"], "--data")  # names or numbers, not both in one column
    (tmp_path / "b.csv").write_text("a,b,target,c,d\n1,2,1,3,4\n5,6,0,7,8\n")
    assert read([tmp_path / "b.csv"], "--data").inputs.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert read([tmp_path / "b.csv"], "--data").targets.tolist() == [1, 0]
    assert read([tmp_path / "x.npy"], "--data", tmp_path / "y.npy").targets.tolist() == [0, 1]
    with pytest.raises(oarlock.UserError, match=r"give --targets FILE\.npy too"):
        read([tmp_path / "x.npy"], "--data")
    (tmp_path / "in").mkdir()
    (tmp_path / "b.csv").rename(tmp_path / "in" / "b.csv")
    (tmp_path / "in" / "notes.txt").write_text("")
    assert len(read([tmp_path / "in"], "--data")) == 2


def test_targets_are_those_of_one_npy_file(tmp_path):
    read = reader(IMAGE, class_names=["no", "yes"]).read
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((2, 4)))
    np.save(tmp_path / "y.npy", np.array(["no", "yes"]))
    assert len(read([tmp_path / "in"], "--data", tmp_path / "y.npy")) == 2
    np.save(tmp_path / "in" / "b.npy", np.ones((2, 4)))
    np.savez(tmp_path / "c.npz", inputs=np.ones((2, 4)), targets=[0, 1])
    for paths, shown in (
        (["in"], r"\S+a\.npy, \S+b\.npy"),
        (["c.npz"], r"\S+c\.npz"),
        (["in/a.npy", "c.npz"], r"\S+c\.npz"),
    ):
        with pytest.raises(oarlock.UserError, match=rf"y\.npy: it belongs to one \.npy file; --data has .*{shown}\.$"):
            read([tmp_path / path for path in paths], "--data", tmp_path / "y.npy")


def test_several_inputs_are_in_an_npz_file(tmp_path):
    read = reader((TensorSpec("a", "float32", (2,)), TensorSpec("b", "float32", (1,))), class_names=["no", "yes"]).read
    np.savez(tmp_path / "rows.npz", a=np.ones((2, 2)), b=np.ones((2, 1)), targets=[0, 1])
    assert sorted(read([tmp_path / "rows.npz"], "--data").inputs) == ["a", "b"]
    np.save(tmp_path / "rows.npy", np.ones((2, 2)))
    np.save(tmp_path / "y.npy", [0, 1])
    (tmp_path / "rows.csv").write_text("a,b,target\n1,2,no\n")
    for name, targets in (("rows.npy", tmp_path / "y.npy"), ("rows.csv", None)):
        with pytest.raises(
            oarlock.UserError, match=rf"{name}: the model takes the inputs a, b; expected an \.npz file"
        ):
            read([tmp_path / name], "--data", targets)


def test_numbers_are_names_where_a_class_is_called_by_one(tmp_path):
    path, read = tmp_path / "a.csv", reader(IMAGE, class_names=["1", "2", "3"]).read
    path.write_text("a,b,target,c,d\n" + "".join(f"1,2,{name},3,4\n" for name in (1, 2, 1)))
    assert read([path], "--data").targets.tolist() == [0, 1, 0]
    path.write_text(path.read_text() + "1,2,0,3,4\n")
    with pytest.raises(oarlock.UserError, match=r"a\.csv, line 5: '0' is no class\. Valid: 1, 2, 3\."):
        read([path], "--data")


def test_values_to_predict(tmp_path):
    read = reader((TensorSpec("inputs", "float32", (2,)),), output_shape=(1,)).read
    (tmp_path / "a.csv").write_text("a,b,target\n1,2,0.5\n5,6,7\n")
    assert read([tmp_path / "a.csv"], "--data").targets.tolist() == [[0.5], [7]]
    (tmp_path / "a.csv").write_text("a,b,target\n1,2,0.5\n5,6,x\n")
    with pytest.raises(oarlock.UserError, match=r"line 3: target is 'x'; expected a finite number"):
        read([tmp_path / "a.csv"], "--data")


def test_a_bad_target_is_named_where_the_data_reads_its_own_files(tmp_path):
    (tmp_path / "first.csv").write_text("a,b,price\n" + "".join(f"{row},1,{row / 2}\n" for row in range(20)))
    base = CsvFile(path=str(tmp_path / "first.csv"), target="price", valid_fraction=0.2, test_fraction=0.2)
    data = base.build_data()
    read = Reader(base, data, (TensorSpec("inputs", "float32", (2,)),)).read
    for bad in ("x", "", "nan"):
        (tmp_path / "new.csv").write_text(f"a,b,price\n1,2,0.5\n1,2,0.25\n5,6,{bad}\n")
        with pytest.raises(oarlock.UserError, match=rf"new\.csv, line 4: .*'{bad}'; expected a finite number"):
            read([tmp_path / "new.csv"], "--data")


def test_files_without_a_row_are_passed_over(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("a,b,target,c,d\n")
    assert reader(IMAGE, class_names=["no", "yes"]).read([tmp_path / "a.csv"], "--data") is None
    assert "it has no rows below its header" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"inputs": np.ones((2, 3)), "targets": [0, 1]},
            r"a row of inputs has the shape \[3\]; the model takes \[2, 2\], or 4",
        ),
        ({"inputs": np.full((2, 4), 256), "targets": [0, 1]}, r"inputs holds int64 values that are no uint8"),
        ({"inputs": np.full((2, 4), -1.0), "targets": [0, 1]}, r"inputs holds float32 values that are no uint8"),
        ({"inputs": np.ones((2, 4)), "targets": [0, 1, 1]}, r"different numbers of rows: 2, 3"),
        ({"inputs": np.ones((2, 4)), "targets": [0, 2]}, r"row 1: 2 is no class; expected 0 to 1"),
        ({"inputs": np.ones((2, 4)), "targets": [0.5, 1.0]}, r"the targets are float32; expected class names"),
        ({"input": np.ones((2, 4)), "targets": [0, 1]}, r"it has no array 'inputs'. Did you mean 'input'\?"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(oarlock.UserError, match=message):
        reader(IMAGE, class_names=["no", "yes"]).read([Path(tmp_path / "a.npz")], "--data")


def test_joined_keeps_types_and_names():
    one = joined(
        [Arrays({"a": np.ones((2, 1), "uint8")}, np.zeros(2)), Arrays({"a": np.zeros((1, 1), "uint8")}, np.ones(1))]
    )
    assert one.inputs["a"].dtype == np.uint8
    assert (one.inputs["a"].ravel().tolist(), one.targets.tolist()) == ([1, 1, 0], [0, 0, 1])
