"""Each example installs, does what its README shows, passes its own tests, and uses what anybody can."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import environment
from tests.docs.pages import ROOT, blocks
from tests.docs.test_commands import Reader, follow
from tests.plugins.test_privileges import privileges

EXAMPLES = ROOT / "docs" / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path, forks):
    """A reader copies the package, types what the README shows, which installs it, and runs its tests."""
    package = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    reader = Reader(tmp_path, forks)
    shown = blocks(package / "README.md")
    assert shown[0].language == "python" or shown[0].commands[0].line == f"pip install ./{name}"
    for block in shown:
        if block.language == "python":
            (tmp_path / ".snippet.py").write_text(block.text, encoding="utf-8")
            printed = reader.execute(["python", ".snippet.py"])
            assert reader.code == 0, printed
        else:
            follow(reader, block.commands, f"{name}/README.md:{block.line}")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=package, env=environment({"PYTHONPATH": str(reader.site)}), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout[-3000:] + tests.stderr[-1000:]
    assert re.search(r"\d+ passed", tests.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_it_uses_what_anybody_can(name):
    sources = sorted((EXAMPLES / name / "src").rglob("*.py"))
    assert sources
    found = [what for path in sources for what in privileges(ast.parse(path.read_text(encoding="utf-8")))]
    assert found == []


def test_the_index_names_each_example():
    index = (EXAMPLES / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^- \[([\w-]+)\]\(\1/README\.md\): ", index, re.MULTILINE)) == NAMES
