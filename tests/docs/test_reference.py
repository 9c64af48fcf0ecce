"""The generated pages are those of the code, every hook is documented, and what pages mention exists."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import subprocess
import sys

import pytest

from oarlock import hookspecs, schema
from oarlock.completion import experiments
from oarlock.plugins import load_host
from tests.docs.pages import PAGES, ROOT

HOOKS = [name for name, function in vars(hookspecs).items() if hasattr(function, "oarlock_spec")]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def generate(script, *arguments):
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60)


def test_the_generated_pages_are_up_to_date():
    done = generate(ROOT / "docs" / "generate.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_commands_have_their_defaults():
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert "| `--port` `PORT` | port; 0 takes a free one (8000) |" in page
    assert "%(" not in page


def test_a_stale_page_is_noticed_named_and_mended(tmp_path):
    docs = shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins")  # where it finds the examples of hooks
    page = docs / "reference" / "hooks.md"
    written = page.read_text()
    page.write_text(written.replace("build_model(spec: ModelSpec)", "build_model(spec)"))
    done = generate(docs / "generate.py", "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("stale: hooks.md;")
    assert generate(docs / "generate.py").returncode == 0
    assert page.read_text() == written


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_heading_with_its_exact_signature(name):
    text = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, name
    signature = inspect.signature(getattr(hookspecs, name))
    parameters = ", ".join(f"{each.name}: {each.annotation}" for each in signature.parameters.values())
    assert f"\n{name}({parameters}) -> {signature.return_annotation}\n" in section[1]
    assert inspect.getdoc(getattr(hookspecs, name)) in section[1]


def test_no_heading_is_about_a_hook_that_is_gone():
    text = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == sorted(HOOKS)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_linked_file_exists(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(page))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_mentioned_option_exists(page):
    registry = load_host().registry
    options = {entry.path for entry in registry.entries.values()}
    # What the page itself brings, in a package that it shows.
    options |= set(re.findall(r'register\("(\w+/\w+)"', page.read_text(encoding="utf-8")))
    fields = core_fields() | {
        f"{entry.path.replace('/', '.') if registry.groups[entry.group].many else entry.group}.{field.name}"
        for entry in registry.entries.values()
        for field in dataclasses.fields(entry.cls)
    }
    unknown = []
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        for word in code.removeprefix("oarlock ").split():
            path, equals, value = word.lstrip("+~").partition("=")
            names = path.split(".")
            if names[0] not in registry.groups and names[0] not in ("trainer", "experiment"):
                continue
            if not all(re.fullmatch(r"[a-z_]\w*", name) for name in names) or names[-1] in (
                "safetensors",
                "onnx",
            ):  # a file
                continue
            if equals and path in registry.groups:
                chosen = [name for name in re.split(r"[\[\],]", value) if name and name.islower()]
                unknown += [word for name in chosen if f"{path}/{name}" not in options]
            elif equals and path == "experiment":
                unknown += [word] if value.islower() and value not in experiments() else []
            elif len(names) > 1 and path not in fields and path.replace(".", "/", 1) not in options:
                unknown.append(word)
    assert unknown == []


def core_fields(cls=schema.TrainerConfig, prefix="trainer"):
    """The options of the core by path, the nodes themselves among them."""
    found = {prefix}
    for field in dataclasses.fields(cls):
        inner = field.default_factory if dataclasses.is_dataclass(field.default_factory) else None
        found |= core_fields(inner, f"{prefix}.{field.name}") if inner else {f"{prefix}.{field.name}"}
    return found


def prose(page):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
