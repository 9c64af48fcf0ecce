"""Batches come in an order that is a function of (seed, epoch), from any step on, whatever holds the rows."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock import Arrays, Batch, Data, InputSpec, UserError, arrays_feeder
from oarlock.arrays_feeder import resident
from oarlock.epochs import EpochOrders, epoch_order, plan_steps
from oarlock.feeding import build_feeder, evaluation_batches
from oarlock.kept import Kept
from oarlock.schema import TrainerConfig

ROWS = np.arange(50, dtype="float32").reshape(25, 2)
LABELS = np.arange(25)


class Rows(paddle.io.Dataset):
    def __len__(self):
        return 25

    def __getitem__(self, index):
        return ROWS[index], LABELS[index]


class Stream:
    """Rows without a length."""

    def __iter__(self):
        return iter(zip(ROWS, LABELS, strict=True))


def trainer(**values):
    return TrainerConfig(**{"batch_size": 4, **values})


def labels(feeder, epoch=0, start=0):
    return [[batch.targets.numpy().tolist() for batch in step] for step in feeder.epoch(epoch, start)]


@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.booleans()
)  # fmt: skip
def test_a_plan_covers_every_row_once_or_drops_only_what_is_not_full(rows, batch_size, accumulate, drop_last):
    steps = plan_steps(rows, batch_size, accumulate, drop_last)
    covered = [row for step in steps for part in step for row in range(part.start, part.stop)]
    if drop_last:
        whole = rows // (batch_size * accumulate)
        assert len(steps) == whole
        assert covered == list(range(whole * batch_size * accumulate))
        assert all(part.stop - part.start == batch_size for step in steps for part in step)
    else:
        assert covered == list(range(rows))
        assert all(1 <= len(step) <= accumulate for step in steps)


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    np.random.seed(1)
    first = epoch_order(3, 5, 100)
    np.random.seed(2)
    assert np.array_equal(first, epoch_order(3, 5, 100))
    assert sorted(first) == list(range(100))
    assert not np.array_equal(first, epoch_order(3, 6, 100))
    assert not np.array_equal(first, epoch_order(4, 5, 100))


@pytest.mark.parametrize("train", [Arrays(ROWS, LABELS), Rows()], ids=["arrays", "dataset"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("drop_last", [True, False])
def test_arrays_and_datasets_come_in_one_order_from_any_step(train, accumulate, drop_last):
    config = trainer(accumulate_steps=accumulate, drop_last=drop_last)
    feeder = build_feeder(Data(train, inputs=InputSpec((2,))), config, seed=7)
    order = epoch_order(7, 2, 25)
    expected = [[LABELS[order[part]].tolist() for part in step] for step in plan_steps(25, 4, accumulate, drop_last)]
    assert labels(feeder, epoch=2) == expected
    assert labels(feeder, epoch=2, start=2) == expected[2:]
    assert len(expected) == feeder.steps_per_epoch


def test_loader_processes_keep_the_order():
    data = Data(Rows(), inputs=InputSpec((2,)))
    assert labels(build_feeder(data, trainer(num_workers=2), 7)) == labels(build_feeder(data, trainer(), 7))


class Sentences(Rows):
    """Rows of different lengths, or without a target."""

    def __init__(self, labelled):
        self._labelled = labelled

    def __getitem__(self, index):
        return ROWS[index, : 1 + index % 2], LABELS[index] if self._labelled else None


def padded(samples):
    """As DataLoader takes it: arrays."""
    rows = [np.pad(row, (0, 2 - len(row))) for row, _ in samples]
    return np.stack(rows), np.array([label for _, label in samples])


COLLATES = {
    "arrays": padded,
    "a dict": lambda samples: dict(zip(("inputs", "targets"), padded(samples), strict=True)),
    "a batch": lambda samples: Batch(*padded(samples)),
    "no targets": lambda samples: Batch(padded([(row, 0) for row, _ in samples])[0]),
    "": None,
}


@pytest.mark.parametrize("what", COLLATES)
def test_what_a_collate_function_gives_becomes_tensors_in_whatever_process(what):
    rows = Sentences(labelled=what != "no targets") if what else [(row, None) for row in ROWS]
    data = Data(rows, rows, inputs=InputSpec((2,)), collate=COLLATES[what])
    stream = Data(iter([rows[index] for index in range(25)]), inputs=InputSpec((2,)), collate=COLLATES[what])
    given = [[step[0] for step in build_feeder(data, trainer(num_workers=number), 7).epoch(0, 0)] for number in (0, 2)]
    for one, other in zip(*given, strict=True):
        np.testing.assert_array_equal(one.inputs.numpy(), other.inputs.numpy())
    given += [[step[0] for step in build_feeder(stream, trainer(), 7).epoch(0, 0)]]
    given += [list(evaluation_batches(data, data.valid, 4))]
    for batch in (one for part in given for one in part):
        assert (batch.targets is None) == (what in ("no targets", ""))
        assert all(isinstance(one, paddle.Tensor) for one in (batch.inputs, batch.targets) if one is not None)


@pytest.mark.parametrize("row", ["a text", [1.0, 2.0]])
def test_a_row_that_is_no_array_is_refused(row):
    feeder = build_feeder(Data([(row, 0)] * 25, inputs=InputSpec((2,))), trainer(), 7)
    with pytest.raises(UserError, match=r"this one has a list or a text\.\nGive arrays, or Data"):
        next(feeder.epoch(0, 0))


def test_a_stream_is_replayed_and_skipped_or_restored():
    feeder = build_feeder(Data(Stream(), inputs=InputSpec((2,))), trainer(drop_last=False), 0)
    assert feeder.steps_per_epoch is None
    everything = labels(feeder)
    assert everything[-1] == [[24]]
    assert labels(feeder, start=3) == everything[3:]


def noise(sample, rng):
    return sample[0] + rng.normal(size=2).astype("float32"), sample[1]


def noise_batch(batch, rng):
    return Batch(batch.inputs + float(rng.normal()), batch.targets)


@pytest.mark.parametrize("change", [{"transform": noise}, {"transform_batch": noise_batch}])
@pytest.mark.parametrize("train", [Arrays(ROWS, LABELS), Rows()], ids=["arrays", "dataset"])
def test_a_transform_draws_the_same_whether_or_not_the_epoch_was_cut(train, change):
    def inputs(start):
        feeder = build_feeder(Data(train, inputs=InputSpec((2,)), **change), trainer(), 1)
        return [step[0].inputs.numpy() for step in feeder.epoch(3, start)]

    whole, cut = inputs(0), inputs(2)
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], cut, strict=True))
    plain = build_feeder(Data(train, inputs=InputSpec((2,))), trainer(), 1)
    assert not np.array_equal(whole[0], next(iter(plain.epoch(3, 0)))[0].inputs.numpy())


class Halve(paddle.nn.Layer):
    def forward(self, inputs):
        return inputs / 2


@pytest.mark.parametrize("train", [Arrays(ROWS, LABELS), Rows()], ids=["arrays", "dataset"])
def test_preprocess_comes_after_the_transforms_in_training_and_in_evaluation(train):
    data = Data(train, valid=train, inputs=InputSpec((2,)), preprocess=Halve(), transform_batch=noise_batch)
    batch = next(iter(build_feeder(data, trainer(), 0).epoch(0, 0)))[0]
    rows = epoch_order(0, 0, 25)[:4]
    rng = np.random.default_rng([0, 0, 0])
    np.testing.assert_allclose(batch.inputs.numpy(), (ROWS[rows] + np.float32(rng.normal())) / 2, rtol=1e-6)
    seen = np.concatenate([part.inputs.numpy() for part in evaluation_batches(data, train, 7)])
    np.testing.assert_array_equal(seen, ROWS / 2)
    assert data.model_spec().inputs == InputSpec((2,), "float32")


class Windows(paddle.nn.Layer):
    """What a window and a mean make of a sequence of any length and of a vector."""

    def forward(self, inputs):
        return {"windows": paddle.nn.functional.avg_pool1d(inputs["steps"], 2), "mean": inputs["steps"].mean(-1),
                "vector": inputs["vector"].astype("float64")}  # fmt: skip


def test_preprocess_of_inputs_of_any_length():
    raw = {"steps": InputSpec((3, -1)), "vector": InputSpec((4,), "int64")}
    made = {"windows": InputSpec((3, -1)), "mean": InputSpec((3,)), "vector": InputSpec((4,), "float64")}
    assert Data(Rows(), inputs=raw, preprocess=Windows()).model_spec().inputs == made
    assert Data(Rows(), inputs=InputSpec((-1,)), preprocess=Halve()).model_spec().inputs == InputSpec((-1,))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.9), st.integers(0, 1000), st.integers(2, 200))
def test_a_split_is_disjoint_complete_and_repeatable(fraction, seed, rows):
    arrays = Arrays(np.arange(rows))
    rest, part = arrays.split(fraction, seed)
    assert sorted([*rest.inputs, *part.inputs]) == list(range(rows))
    assert len(part) == round(rows * fraction)
    assert np.array_equal(part.inputs, arrays.split(fraction, seed)[1].inputs)


def test_dict_inputs_and_targets():
    arrays = Arrays({"a": ROWS, "b": LABELS}, {"y": LABELS})
    feeder = build_feeder(Data(arrays), trainer(), 0)
    batch = next(iter(feeder.epoch(0, 0)))[0]
    assert batch.size == 4
    assert np.array_equal(batch.inputs["a"].numpy()[:, 0], 2 * batch.targets["y"].numpy())
    assert Data(arrays).model_spec().inputs == {"a": InputSpec((2,)), "b": InputSpec((), "int64")}


def test_rows_that_do_not_match_and_batches_that_do_not_fit_are_errors(tmp_path):
    with pytest.raises(UserError, match="24, 25"):
        Arrays(ROWS, LABELS[:24])
    assert build_feeder(Data(Arrays(ROWS, LABELS)), trainer(batch_size=20, accumulate_steps=2), 0).steps_per_epoch == 0
    job = ["trainer.batch_size=1000", "trainer.accumulate_steps=2", "trainer.drop_last=true"]
    with pytest.raises(UserError, match=r"BatchNorm\.\nChoose another batch_size\.$"):
        oarlock.train(["trainer.batch_size=1", f"hydra.run.dir={tmp_path / 'run'}"])
    with pytest.raises(UserError, match=r"batch_size=1000.*2000 rows a step; there are \d+\.\nChoose a smaller batch"):
        oarlock.train([*job, f"hydra.run.dir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="InputSpec"):
        Data(Rows()).model_spec()


def test_a_batch_transform_that_is_set_late_sees_rows_that_were_not_preprocessed():
    """As a callback may do in on_run_start: every row is still preprocessed once."""
    inputs = np.arange(8, dtype="float32").reshape(8, 1)
    data = Data(train=Arrays(inputs, inputs), output_shape=(1,), preprocess=lambda rows: rows / 2)
    feeder = build_feeder(data, TrainerConfig(batch_size=4, drop_last=False), seed=0)
    data.transform_batch = lambda batch, rng: batch
    seen = np.concatenate([part.inputs.numpy() for step in feeder.epoch(0, 0) for part in step])
    assert sorted(seen.ravel()) == sorted((inputs / 2).ravel())


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_batch_transform_may_come_and_go_between_epochs(reuse, share):
    """As a callback may do in on_epoch_start: in each epoch every row is preprocessed once."""
    inputs = np.arange(8, dtype="float32").reshape(8, 1)
    data = Data(train=Arrays(inputs, inputs), output_shape=(1,), preprocess=lambda rows: rows / 2)
    feeder = build_feeder(data, TrainerConfig(batch_size=4, resident_share=share), seed=0)
    for epoch, transform in enumerate([None, lambda batch, rng: Batch(batch.inputs + 1, batch.targets), None]):
        data.transform_batch = transform
        seen = np.concatenate([part.inputs.numpy() for step in feeder.epoch(epoch, 0, reuse) for part in step])
        assert sorted(seen.ravel()) == sorted(((inputs + (transform is not None)) / 2).ravel())


@pytest.mark.parametrize("change", [{}, {"transform_batch": noise_batch}, {"preprocess": Halve()}])
def test_rows_that_do_not_fit_on_the_device_come_in_the_same_order(tmp_path, monkeypatch, change):
    """Stretches of two steps, read from a file that is mapped, while the one before is in use."""
    monkeypatch.setattr(arrays_feeder, "STRETCH_BYTES", 100)
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")

    def batches(inputs, share, start=0):
        feeder = build_feeder(Data(Arrays(inputs, LABELS), **change), trainer(resident_share=share), 7)
        return [(part.inputs.numpy(), part.targets.numpy()) for step in feeder.epoch(2, start) for part in step]

    expected = batches(ROWS, 0.25)
    monkeypatch.setattr(arrays_feeder, "resident", lambda *arguments, **named: pytest.fail("all rows") if len(arguments[1]) == 25
                        else resident(*arguments, **named))  # fmt: skip
    for found, wanted in ((batches(mapped, 0.0), expected), (batches(mapped, 0.0, start=2), expected[2:])):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


@pytest.fixture(params=[True, False], ids=["slices are views", "slices are copies"])
def slices(request):
    flag = "FLAGS_use_stride_kernel"
    before = paddle.get_flags(flag)
    paddle.set_flags({flag: request.param})
    yield
    paddle.set_flags(before)


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("stretch", [1 << 20, 300, 1], ids=["an epoch", "17 rows", "a step"])
def test_rows_in_the_memory_of_those_before_are_the_same(monkeypatch, stretch, accumulate, drop_last):
    """In the next stretch or epoch, and in a run of this process with another seed."""
    monkeypatch.setattr(arrays_feeder, "STRETCH_BYTES", stretch)
    data = Data(Arrays({"image": ROWS.reshape(25, 1, 2), "flag": LABELS % 2 == 0}, LABELS))
    config = trainer(accumulate_steps=accumulate, drop_last=drop_last, epochs=6)

    def epochs(reuse):
        found, places, kept = [], set(), Kept()
        for seed in (7, 8):
            feeder = build_feeder(data, config, seed, kept)
            for number, start in [(0, 0), (1, 0), (2, 1), (3, 0), (4, 2), (9, 0)]:
                for step in feeder.epoch(number, start, reuse=reuse):
                    found.append([{name: leaf.numpy().tolist() for name, leaf in [*one.inputs.items(), ("target", one.targets)]}
                                  for one in step])  # fmt: skip
                places.add(step[0].whole.targets.data_ptr() if start == 0 else None)
        return found, places

    (fresh, _), (reused, places) = epochs(False), epochs(True)
    assert fresh == reused
    assert len(places - {None}) == 1


def test_rows_in_other_batches_have_memory_of_their_own():
    kept, data = Kept(), Data(Arrays(ROWS, LABELS))
    one, other = (build_feeder(data, trainer(batch_size=size), 7, kept) for size in (4, 5))
    first = [step[0] for step in one.epoch(0, 0, reuse=True)]
    expected = [part.targets.numpy().tolist() for part in first]
    assert [step[0].size for step in other.epoch(1, 0, reuse=True)] == [5] * 5
    assert [part.targets.numpy().tolist() for part in first] == expected


def test_rows_that_may_not_be_another_s_later_have_memory_of_their_own(monkeypatch):
    monkeypatch.setattr(arrays_feeder, "STRETCH_BYTES", 8 * (8 + 8))
    feeder = build_feeder(Data(Arrays(ROWS, LABELS)), trainer(), seed=7)
    kept = [step[0].targets for step in feeder.epoch(0, 0)]
    assert [one.numpy().tolist() for one in kept] == [one for (one,) in labels(feeder)]
    list(feeder.epoch(1, 0))
    assert [one.numpy().tolist() for one in kept] == [one for (one,) in labels(feeder)]


@given(st.integers(0, 9), st.integers(1, 40), st.integers(0, 30), st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_orders_that_are_made_at_once_are_those_of_each_epoch(seed, rows, epochs, asked):
    orders = EpochOrders(seed, rows, epochs)
    for epoch in asked:
        assert np.array_equal(orders(epoch), epoch_order(seed, epoch, rows))
