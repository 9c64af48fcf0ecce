"""`oarlock new-plugin` makes packages that pass the conformance kit and train, one for every kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import environment

KINDS = ["callback", "data", "model", "optimizer", "regularizer", "schedule", "task"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_installs_passes_its_tests_and_trains(oarlock, tmp_path, kind):
    made = oarlock("new-plugin", "lion", "--kind", kind)
    assert made.returncode == 0, made.stderr
    choose = next(line.split()[2] for line in made.stdout.splitlines() if line.startswith("  oarlock train"))
    package, site = tmp_path / "oarlock-lion", tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(package)], check=True, capture_output=True)
    env = {"PYTHONPATH": str(site)}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", package, package],
        cwd=package, env=environment(env), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout[-3000:]
    assert " passed" in tests.stdout
    done = oarlock("train", choose, "trainer.epochs=3", env=env)
    assert done.returncode == 0, done.stderr
    assert "completed after" in done.stdout


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
        (["Lion", "--kind", "model"], "Lion: expected a name in lower case, with digits and underscores: my_model"),
        (["class", "--kind", "model"], "expected a name"),
        (["../lion", "--kind", "model"], "expected a name"),
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
