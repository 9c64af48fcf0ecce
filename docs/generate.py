"""The pages in docs/reference, from the registry, the hook specifications, the schema and the parsers.

python docs/generate.py            # write them
python docs/generate.py --check    # exit 1 and name the page when one of them is stale
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import sys
import textwrap
from pathlib import Path

import yaml

import oarlock_conf
from oarlock import cli, hookspecs, schema
from oarlock.completion import experiments
from oarlock.component import field_docs, summary
from oarlock.display import _default, _kind, _prose, _text
from oarlock.errors import Exit
from oarlock.plugins import load_host

REFERENCE = Path(__file__).parent / "reference"
ROOT = Path(__file__).parents[1]
SOURCES = [*sorted(ROOT.glob("plugins/oarlock_plugins/**/*.py")), *sorted(ROOT.glob("docs/examples/*/src/**/*.py"))]
NOTE = "<!-- Written by docs/generate.py from the code; change the code, then run `make docs`. -->"

# What a signature and a docstring do not say: by phase, when a hook is called and what None means in its result.
HOOKS = {
    "Once a process, in a plugin's module": {
        "register_hookspecs": ("First, so that every component can be checked against every hook.", ""),
        "register_components": ("After every plugin's `register_hookspecs`.", ""),
        "register_commands": ("After every plugin's `register_components`.", ""),
        "on_sweep_requested": (
            "When `oarlock train -m` or `oarlock resume` of a sweep has been read, and not composed.",
            "",
        ),
    },
    "While a run is built": {
        "build_data": ("First of all.", "An error: a run needs data."),
        "build_model": (
            "After `build_data`, with the shapes that are left after `Data.preprocess`.",
            "An error: a run needs a model.",
        ),
        "build_metrics": ("After `build_model`.", "Only the loss is measured; `trainer.monitor` is then `valid/loss`."),
        "prepare_parameters": ("After `build_metrics`, before any optimizer exists.", "No parameter is claimed."),
        "build_grad_clip": ("After `prepare_parameters`.", "Left out of the list."),
        "build_training_step": (
            "After `build_grad_clip`, before an optimizer is built.",
            "The run has the ordinary step, and the next three hooks are called.",
        ),
        "build_parameter_groups": ("Where no task brings a step.", "One group with every trainable parameter."),
        "build_optimizer": (
            "After `build_parameter_groups`; for `run.build_optimizer`, that component's own.",
            "An error: a run needs an optimizer.",
        ),
        "build_schedule": (
            "When `build_optimizer` calls `schedule(learning_rate)`.",
            "An error: the optimizer needs a rate.",
        ),
        "build_step": ("Last, unless `trainer.engine=eager`.", "The core's eager step."),
        "build_evaluation_step": ("After `build_step`.", "The core's eager forward and loss."),
    },
    "On each step": {
        "forward": (
            "For each micro-batch, in training and in evaluation.",
            "The next one is asked; the last is `model(batch.inputs)`.",
        ),
        "compute_loss": ("After `forward`, in training and in evaluation.", "An error: a loss is needed."),
        "compute_predictions": (
            "Not while training: on what is exported, after `forward`.",
            "One prediction, `output`, that is what `forward` returned.",
        ),
        "compute_penalty": ("After `compute_loss`, in training only.", "Nothing is added."),
        "after_backward": ("Once a step, after the last micro-batch, before the clips.", ""),
        "on_step_end": ("After the optimizer and the schedules have stepped.", ""),
    },
    "Moments": {
        "on_run_start": (
            "Once in a process, before its first step; again when a run is resumed. By `oarlock check` too.",
            "",
        ),
        "on_epoch_start": ("Before the first step of an epoch.", ""),
        "on_evaluation_start": ("Every `trainer.evaluate_every`, and once after the last step.", ""),
        "evaluate": ("For `valid` in every evaluation, for `test` once at the end.", "The standard evaluation."),
        "on_evaluation_end": ("After the metrics are recorded.", ""),
        "on_epoch_end": ("After the last step of an epoch, and its evaluation.", ""),
        "on_checkpoint": ("After each save.", ""),
        "on_run_end": ("Once a process, when it ends without an error, by a signal or after a check too.", ""),
        "on_failure": ("When something was raised while the run trained; `error` is raised on after it.", ""),
    },
}

EXITS = {
    Exit.DONE: "done",
    Exit.RUN_FAILED: "the run failed, or one of a sweep's did",
    Exit.BAD_INPUT: "the input is wrong; nothing was started",
    Exit.REFUSED: "`oarlock update` has trained a model and not published it, since it is worse than the live one",
    Exit.INTERRUPTED: "stopped by a signal, saved, and resumable",
}


def components() -> str:
    """Every component that comes with oarlock."""
    registry = load_host().registry
    chosen = chosen_by_default()
    lines = ["# Components", "", NOTE, ""]
    lines += [
        "What comes with oarlock. A plugin's components are shown by `oarlock plugins` and `oarlock show GROUP/NAME`.",
        "",
    ]
    for group in registry.groups.values():
        entries = [registry.entries[f"{group.name}/{name}"] for name in registry.options(group.name)]
        entries = [entry for entry in entries if entry.plugin.distribution == "oarlock"]
        if not entries:
            continue
        takes = "a list" if group.many else "one"
        lines += [f"## {group.name}", "", f"Takes {takes}; by default `{group.name}={chosen[group.name]}`.", ""]
        for entry in entries:
            prefix = f"{entry.path.replace('/', '.')}." if group.many else f"{group.name}."
            lines += [f"### {entry.path}", "", _prose(entry.cls), "", *options(entry.cls, prefix)]
    return page(lines)


def chosen_by_default() -> dict[str, str]:
    """What the defaults list chooses, as it is written in an override."""
    path = Path(oarlock_conf.__file__).parent / "config.yaml"
    defaults = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
    chosen = {}
    for entry in defaults:
        if isinstance(entry, dict):
            for group, option in entry.items():
                chosen[group] = f"[{','.join(option)}]" if isinstance(option, list) else str(option)
    return chosen


def options(cls: type, prefix: str) -> list[str]:
    """A table of a dataclass's fields, nested ones after it."""
    rows, nested = [], []
    docs = field_docs(cls)
    for field in dataclasses.fields(cls):
        default = _default(field)
        if dataclasses.is_dataclass(default):
            nested.append((type(default), f"{prefix}{field.name}."))
            continue
        kind = _kind(field).replace(" | ", " or ")
        rows.append(f"| `{prefix}{field.name}` | {kind} | `{_text(default)}` | {docs.get(field.name, '')} |")
    lines = ["| option | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else ["No options.", ""]
    for inner, inner_prefix in nested:
        lines += [f"## {inner_prefix[:-1]}", "", _prose(inner), "", *options(inner, inner_prefix)]
    return lines


def trainer() -> str:
    """What belongs to the core."""
    lines = ["# Trainer and root options", "", NOTE, "", "What is in no group.", ""]
    lines += options(schema.RootConfig, "")
    lines += ["## Experiments", "", "Files of overrides, chosen with `experiment=NAME`:", ""]
    lines += [f"- `experiment={name}`" for name in experiments()]
    return page(lines)


def hooks() -> str:
    """Every hook of the core."""
    groups = [f"`{group.name}`" for group in load_host().registry.groups.values() if group.of_run]
    lines = ["# Hooks", "", NOTE, ""]
    lines += [
        "A plugin's module implements the first three; a component implements any of the others. Mark each with "
        "`@hookimpl`. An implementation may take fewer arguments than the hook names, and takes them by name.",
        "",
        f"**Order.** Components are called in the order of their groups ({', '.join(groups)}, then those of plugins), "
        "and in list order within a group. `@hookimpl(tryfirst=True)` and `@hookimpl(trylast=True)` move one to the "
        "front or to the back. Plugin modules are called in the order of their entry points' names. A wrapper "
        "(`@hookimpl(wrapper=True)`) is refused on `forward`, `compute_loss`, `compute_penalty`, `after_backward`, "
        "`on_step_end` and `prepare_parameters`. What a component registers with `run.manager` in `on_run_start` is called; "
        "what is registered later may not be.",
        "",
    ]
    for phase, members in HOOKS.items():
        lines += [f"## {phase}", ""]
        for name, (when, none) in members.items():
            function = getattr(hookspecs, name)
            lines += [f"### {name}", "", "```python", signature(function), "```", ""]
            lines += [inspect.getdoc(function) or "", ""]
            lines += [f"- **Called:** {when}", f"- **Result:** {result(name, function)}"]
            lines += [f"- **None:** {none}", ""] if none else [""]
            lines += example(name)
    return page(lines)


def example(hook: str) -> list[str]:
    """The shortest implementation of a hook among the built-ins and the examples, as it stands in its file.

    Raises:
        SystemExit: nobody implements it; a hook that nobody needs is one too many.
    """
    found = implementations().get(hook)
    if not found:
        sys.exit(f"no built-in and no example implements the hook {hook}")
    _, name, source = min(found)
    return [f"From `{name}`:", "", "```python", source, "```", ""]


@functools.cache
def implementations() -> dict[str, list[tuple[int, str, str]]]:
    """All implementations by hook: how many lines they have, the file, and the lines."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and any(map(is_mark, node.decorator_list)):
                first = min(one.lineno for one in node.decorator_list)
                lines = text.splitlines()[first - 1 : node.end_lineno]
                source = textwrap.dedent("\n".join(lines))
                found.setdefault(node.name, []).append((len(lines), str(path.relative_to(ROOT)), source))
    return found


def is_mark(decorator: ast.expr) -> bool:
    """Whether a decorator is @hookimpl or @hookimpl(…)."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "hookimpl"


def signature(function: object) -> str:
    """The signature as it stands in the source."""
    definition = ast.parse(inspect.getsource(function)).body[0]  # type: ignore[arg-type]
    assert isinstance(definition, ast.FunctionDef)
    returns = f" -> {ast.unparse(definition.returns)}" if definition.returns else ""
    return f"{definition.name}({ast.unparse(definition.args)}){returns}"


def result(name: str, function: object) -> str:
    """How the results of several implementations become one."""
    if function.oarlock_spec["firstresult"]:  # type: ignore[attr-defined]
        return "The first that is not None; those after it are not called."
    if name == "compute_penalty":
        return "All are called; their sum is added to the loss."
    if signature(function).endswith("-> None"):
        return "All are called; nothing is read from what they return."
    return "All are called, and their results collected."


def commands() -> str:
    """Every command, from its parser."""
    host = load_host()
    lines = ["# Commands", "", NOTE, ""]
    for name, command in cli.all_commands(host).items():
        if command.run.__module__.partition(".")[0] not in ("oarlock", "oarlock_plugins"):
            continue
        actions = cli.parser_of(command, host)._actions
        positional = [usage(action) for action in actions if not action.option_strings]
        lines += [f"## oarlock {name}", "", command.help, "", "```text"]
        lines += [
            " ".join([f"oarlock {name}", "[options]", *positional]),
            "```",
            "",
            "| argument | meaning |",
            "|---|---|",
        ]
        for action in actions:
            flags = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar or action.dest}`"
            value = f" `{usage(action)}`" if action.option_strings and action.nargs != 0 else ""
            text = (action.help or "") % vars(action)
            lines.append(f"| {flags}{value} | {text} |")
        lines.append("")
    lines += ["## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code.value} | {EXITS[code]} |" for code in Exit]
    return page(lines)


def usage(action: argparse.Action) -> str:
    """An argument's placeholder."""
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    if action.option_strings:
        return str(action.metavar or action.dest.upper())
    return f"[{action.dest} …]" if action.nargs == "*" else str(action.metavar or action.dest)


def page(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"components.md": components, "hooks.md": hooks, "trainer.md": trainer, "commands.md": commands}


def main() -> int:
    parser = argparse.ArgumentParser(description=summary(sys.modules[__name__]))  # type: ignore[arg-type]
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
