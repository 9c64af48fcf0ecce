"""IDX files: whole ones, raw and gzipped, and every way in which they can be broken."""

import gzip
import hashlib
import socket
import struct
import tempfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock_plugins.data.mnist import Mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array):
    """The array as an IDX file, by the format's description: magic number, sizes, values; big-endian."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder, images, labels, test_images, test_labels, zipped=False):
    """The four files; returns what is in them, by name."""
    folder.mkdir(exist_ok=True)
    contents = {IMAGES: images, LABELS: labels, TEST_IMAGES: test_images, TEST_LABELS: test_labels}
    for name, array in contents.items():
        content = idx(array)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return contents


def small(rows=6, height=4, width=3, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        array
        for count in (rows, 2)
        for array in (rng.integers(0, 256, (count, height, width)), rng.integers(0, 10, count))
    )


def load(root, **options):
    return Mnist(root=str(root), **{"valid_fraction": 0.0, **options}).build_data()


arrays = st.builds(small, *(st.integers(1, 6) for _ in range(3)), st.integers(0, 1000))


@settings(max_examples=60, deadline=None)
@given(arrays=arrays, zipped=st.booleans())
def test_what_was_written_is_read(arrays, zipped):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), *arrays, zipped=zipped)
        data = load(folder)
    images, labels, test_images, test_labels = arrays
    np.testing.assert_array_equal(data.train.inputs, images[:, None])
    np.testing.assert_array_equal(data.train.targets, labels)
    np.testing.assert_array_equal(data.test.inputs, test_images[:, None])
    np.testing.assert_array_equal(data.test.targets, test_labels)
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.uint8, np.int64)
    assert data.valid is None


@settings(max_examples=80, deadline=None)
@given(arrays=arrays, zipped=st.booleans(), name=st.sampled_from([IMAGES, LABELS, TEST_IMAGES, TEST_LABELS]),
       data=st.data())  # fmt: skip
def test_a_file_that_is_cut_off_or_too_long_is_named(arrays, zipped, name, data):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), *arrays, zipped=zipped)
        path = Path(folder) / (f"{name}.gz" if zipped else name)
        content = path.read_bytes()
        if data.draw(st.booleans(), label="cut off"):
            changed = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            changed = content + data.draw(st.binary(min_size=1, max_size=9).filter(lambda tail: any(tail)))
        path.write_bytes(changed)
        with pytest.raises(oarlock.UserError, match=name):
            load(folder)


@settings(max_examples=150, deadline=None)
@given(arrays=arrays, name=st.sampled_from([IMAGES, LABELS]), data=st.data())
def test_a_header_with_a_changed_byte_is_refused(arrays, name, data):
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder), *arrays)[name]
        path = Path(folder) / name
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, 3 + 4 * written.ndim))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with pytest.raises(oarlock.UserError, match=name):
            load(folder)


@settings(max_examples=100, deadline=None)
@given(arrays=arrays, data=st.data())
def test_a_gzip_with_a_changed_byte_is_refused_or_gives_the_same_rows(arrays, data):
    """The sum at its end covers the values; the header has bytes that mean nothing to a reader."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), *arrays, zipped=True)
        path = Path(folder) / f"{IMAGES}.gz"
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            found = load(folder).train.inputs
        except oarlock.UserError as refused:
            found = str(refused)
        if isinstance(found, str):
            assert IMAGES in found
        else:
            np.testing.assert_array_equal(found, arrays[0][:, None])


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_other_file_is_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), *small())
        (Path(folder) / IMAGES).write_bytes(content)
        with pytest.raises(oarlock.UserError, match=IMAGES):
            load(folder)


def one_byte_with_255_axes():
    return struct.pack(">HBB255I", 0, 8, 255, *[1] * 255) + b"\1"


def sizes_whose_product_wraps_around():
    """2^31 * 2^31 * 4 is 2^64, which is 0 in 64 bits."""
    return struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 4)


@pytest.mark.parametrize("content", [one_byte_with_255_axes(), sizes_whose_product_wraps_around()],
                         ids=["255-axes", "overflow"])  # fmt: skip
def test_a_hostile_header_is_refused(tmp_path, content):
    write(tmp_path, *small())
    (tmp_path / IMAGES).write_bytes(content)
    with pytest.raises(oarlock.UserError, match=IMAGES):
        load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    images, labels, test_images, test_labels = small()
    write(tmp_path, images, labels[:-1], test_images, test_labels)
    with pytest.raises(oarlock.UserError, match=rf"{LABELS}: 5 labels; {IMAGES} has 6 images"):
        load(tmp_path)
    write(tmp_path, images, labels, test_images[:, 1:], test_labels)
    with pytest.raises(oarlock.UserError, match="training and the test files differ in size"):
        load(tmp_path)
    write(tmp_path, labels, images, test_images, test_labels)
    with pytest.raises(oarlock.UserError, match=rf"{IMAGES}: not an IDX file of unsigned bytes with 3 axes"):
        load(tmp_path)
    write(tmp_path, images, labels + 10, test_images, test_labels)
    with pytest.raises(oarlock.UserError, match=rf"{LABELS}: a label is 1\d; expected 0 to 9"):
        load(tmp_path)
    write(tmp_path, images[:0], labels[:0], test_images, test_labels)
    with pytest.raises(oarlock.UserError, match=rf"{IMAGES}: .*header says 0 x 4 x 3 values, there are 0"):
        load(tmp_path)


def test_a_file_that_is_not_there_is_named_with_the_folder(train, tmp_path):
    root = tmp_path / "idx"
    write(root, *small())
    (root / TEST_LABELS).unlink()
    with pytest.raises(oarlock.UserError, match=rf"data\.root={root}: there is no {TEST_LABELS} or {TEST_LABELS}\.gz"):
        train("data=mnist", f"data.root={root}")


def test_a_gzip_is_known_by_its_content(tmp_path):
    """A browser may unpack what it downloads and leave the name."""
    contents = write(tmp_path, *small())
    for name in contents:
        (tmp_path / name).rename(tmp_path / f"{name}.gz")
    np.testing.assert_array_equal(load(tmp_path).train.inputs, contents[IMAGES][:, None])


def test_the_split_has_its_share_and_its_own_seed(tmp_path):
    images, labels, *test = small(rows=40, height=5, width=5)
    write(tmp_path, images, labels, *test)
    first, again, other = (load(tmp_path, valid_fraction=0.25, split_seed=seed) for seed in (0, 0, 1))
    assert (len(first.train), len(first.valid), len(first.test)) == (30, 10, 2)
    rows = [image.tobytes() for part in (first.train, first.valid) for image in part.inputs]
    assert sorted(rows) == sorted(image.astype("uint8").tobytes() for image in images)
    np.testing.assert_array_equal(first.valid.inputs, again.valid.inputs)
    assert (first.valid.inputs != other.valid.inputs).any()


def test_a_share_of_all_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"data\.valid_fraction=1\.0: expected 0 <= valid_fraction < 1"):
        train("data=mnist", "data.valid_fraction=1")


def test_the_real_files(mnist):
    """Counts, labels and mean as they are published."""
    data = load(mnist)
    assert data.train.inputs.shape == (60_000, 1, 28, 28)
    assert data.test.inputs.shape == (10_000, 1, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.train.targets).tolist() == counts
    assert np.bincount(data.test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.train.inputs.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.train.inputs.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    scaled = data.preprocess(paddle.to_tensor(data.train.inputs[:2])).numpy()
    np.testing.assert_allclose(scaled, data.train.inputs[:2] / 255, rtol=1e-6)


@pytest.fixture
def paddles_cache(tmp_path, monkeypatch):
    """A cache of Paddle's for this test alone."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(paddle.dataset.common, "DATA_HOME", str(cache))
    return cache / "mnist"


@pytest.fixture
def no_network(monkeypatch):
    """Every connection goes to a port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{held.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield


def test_without_a_root_it_takes_what_paddle_has_downloaded(paddles_cache, no_network, monkeypatch):
    arrays = (*small(rows=100)[:2], *small(rows=100, seed=1)[:2])  # Paddle reads a hundred at a time
    paddles_cache.mkdir(parents=True)
    for name, constant in zip(
        write(paddles_cache, *arrays, zipped=True),
        ("TRAIN_IMAGE_MD5", "TRAIN_LABEL_MD5", "TEST_IMAGE_MD5", "TEST_LABEL_MD5"),
        strict=True,
    ):
        # Paddle downloads anew what has not the sum of the published file.
        md5 = hashlib.md5((paddles_cache / f"{name}.gz").read_bytes()).hexdigest()
        monkeypatch.setattr(paddle.vision.datasets.MNIST, constant, md5)
    data = Mnist(valid_fraction=0.0).build_data()
    np.testing.assert_array_equal(data.train.inputs, arrays[0][:, None])
    np.testing.assert_array_equal(data.test.targets, arrays[3])


def test_without_a_network_it_says_what_to_give(train, paddles_cache, no_network):
    with pytest.raises(oarlock.UserError, match=r"could not be downloaded; give data\.root=FOLDER"):
        train("data=mnist")
