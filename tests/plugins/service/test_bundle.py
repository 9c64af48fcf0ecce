"""A bundle is what an export wrote, to the bit, or it is not opened."""

from __future__ import annotations

import json
import re
import shutil
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oarlock import Damaged, UserError
from oarlock_plugins.service import bundle as module
from oarlock_plugins.service.bundle import DATATYPES, Bundle, TensorSpec, open_bundle
from oarlock_plugins.service.engines import open_engine

FILES = ["bundle.json", "model.onnx", "paddle/model.json", "paddle/model.pdiparams", "reference.safetensors",
         "run/config.yaml", "run/run.json", "run/metrics.jsonl", "MANIFEST.json"]  # fmt: skip


def change(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    elif how == "truncated":
        del content[-1:]
    elif how == "emptied":
        content.clear()
    path.write_bytes(content)
    if how == "removed":
        path.unlink()


def test_every_file_is_listed(exported):
    listed = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert set(FILES) < listed
    assert all(name.startswith("run/checkpoints/step-") for name in listed - set(FILES))


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "removed"])
def test_a_changed_file_is_noticed_and_named(bundle, how):
    assert open_bundle(bundle).path == bundle
    for path in [path for path in bundle.rglob("*") if path.is_file()]:
        kept, name = path.read_bytes(), str(path.relative_to(bundle))
        change(path, how)
        expected = UserError if (name, how) == ("bundle.json", "removed") else Damaged
        with pytest.raises(expected, match=re.escape(name)):
            open_bundle(bundle)
        path.write_bytes(kept)
    assert open_bundle(bundle).path == bundle


def test_what_is_none(tmp_path):
    with pytest.raises(UserError, match=r"not a bundle .*\nMake one with: oarlock export"):
        open_bundle(tmp_path)


def test_a_folder_of_models_is_none_and_its_newest_version_is_named(bundle, tmp_path):
    models = tmp_path / "models"
    for version in ("9", "10", ".new.abcdefgh.scratch"):
        shutil.copytree(bundle, models / "digits" / version)
    for folder in (models, models / "digits"):
        with pytest.raises(UserError, match=rf"not a bundle .*\nThe newest in it is {models}/digits/10\.$"):
            open_bundle(folder)
    for version in ("9", "10"):
        shutil.rmtree(models / "digits" / version)
    with pytest.raises(UserError, match="oarlock export"):
        open_bundle(models / "digits")


def test_an_engine_that_is_none(exported):
    with pytest.raises(UserError, match="Did you mean 'onnxruntime'"):
        open_engine(open_bundle(exported), "onnx")


NAMES = st.text(string.ascii_letters + "_-é", min_size=1, max_size=8)
SPECS = st.builds(TensorSpec, NAMES, st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(-1, 9)).map(tuple))
NUMBERS = st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=3)
BUNDLES = st.builds(
    Bundle, st.just(Path()), st.lists(SPECS, max_size=3).map(tuple), st.lists(SPECS, max_size=3).map(tuple),
    st.none() | st.lists(NAMES).map(tuple), NUMBERS, NAMES, st.sampled_from(["min", "max"]), st.floats(0, 1), NUMBERS,
    st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES)), st.dictionaries(NAMES, NAMES), st.floats(0, 1e10),
)  # fmt: skip
NO_HURRY = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@NO_HURRY
@given(BUNDLES)
def test_what_is_written_is_read(tmp_path, monkeypatch, written):
    monkeypatch.setattr(module, "verify", lambda path: [])
    (tmp_path / "bundle.json").write_text(written.text(), encoding="utf-8")
    read = open_bundle(tmp_path)
    assert {**vars(read), "path": 0} == {**vars(written), "path": 0}


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))  # fmt: skip


@NO_HURRY
@given(st.sampled_from(["format", "inputs", "outputs", "class_names", "metrics", "more", ""]), JSON)
def test_any_other_text_is_damage(exported, tmp_path, monkeypatch, key, value):
    monkeypatch.setattr(module, "verify", lambda path: [])
    values = json.loads((exported / "bundle.json").read_text())
    text = json.dumps({**values, key: value} if key else value)
    (tmp_path / "bundle.json").write_text(text)
    try:
        opened = open_bundle(tmp_path)
    except (Damaged, UserError):
        return
    # What is read says the same again, NaN included.
    assert repr(json.loads(opened.text())[key]) == repr(json.loads(text)[key])
