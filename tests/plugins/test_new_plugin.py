"""`oarlock new-plugin`: what it writes, and what it refuses. `.ci/run` installs, tests and trains one of each kind."""

from __future__ import annotations

import pytest

from oarlock.testing import checks_for
from oarlock_plugins.new_plugin import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_that_it_writes_has_checks_for_its_kind(oarlock, tmp_path, kind):
    done = oarlock("new-plugin", "lion", "--kind", kind)
    assert done.returncode == 0, done.stderr
    package = tmp_path / "oarlock-lion"
    assert f'conformance("{kind}/lion")' in (package / "tests" / "test_lion.py").read_text()
    assert set(checks_for(f"{kind}/lion")) > set(checks_for("other/lion"))
    compile((package / "src" / "oarlock_lion" / "__init__.py").read_text(), "module", "exec")


@pytest.mark.parametrize("licence", ["MIT", "BSD-3-Clause", "Apache-2.0", "none"])
def test_the_licence_is_a_choice(oarlock, tmp_path, licence):
    done = oarlock("new-plugin", "two_words", "--kind", "model", "--licence", licence, "--author", "A. Rower")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "oarlock-two-words"
    project = (folder / "pyproject.toml").read_text()
    assert (f'license = "{licence}"' in project) == (licence != "none")
    assert (folder / "LICENSE").exists() == (licence != "none")
    if licence in ("MIT", "BSD-3-Clause"):
        assert "A. Rower" in (folder / "LICENSE").read_text()
    assert "class TwoWordsModel:" in (folder / "src" / "oarlock_two_words" / "__init__.py").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["Lion", "--kind", "model"],
            "Lion: expected a name in lower case, with digits and underscores, such as 'lion'",
        ),
        (["class", "--kind", "model"], "expected a name"),
        (["../lion", "--kind", "model"], "expected a name"),
        (["foo_", "--kind", "model"], "expected a name in lower case, with digits and underscores, such as 'foo'"),
        (
            ["data", "--kind", "data"],
            "a plugin of this name already, from oarlock 0.1.0. Choose another name, such as 'my_data'",
        ),
        (["trackers", "--kind", "model"], "a plugin of this name already"),
        (["plugins", "--kind", "model"], "there is a package oarlock_plugins already"),
        (["conf", "--kind", "model"], "there is a package oarlock_conf already"),
        (["adam", "--kind", "optimizer"], "optimizer/adam is there already, from oarlock 0.1.0"),
        (["lion", "--kind", "optimiser"], "choose from 'callback', 'data', 'model', 'optimizer'"),
        (["lion", "--kind", "model", "--to", "taken"], "taken exists already. Choose another place with --to"),
    ],
)
def test_bad_input_makes_nothing(oarlock, tmp_path, words, message):
    (tmp_path / "taken").mkdir()
    done = oarlock("new-plugin", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert not list((tmp_path / "taken").iterdir())
