"""The documentation as a test sees it: files to write, Python to run, commands with the output that they show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass
class Command:
    """A command line, and the lines shown below it."""

    line: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A fenced block. `title` is the path in the line `` `path`: `` above it, `excerpt` why it cannot run."""

    language: str
    line: int
    text: str
    title: str = ""
    excerpt: str = ""

    @property
    def commands(self) -> list[Command]:
        """The commands: every line of `bash`, the lines after `$` of `console`."""
        joined = self.text.replace("\\\n", " ")
        if self.language == "bash":
            return [Command(line) for line in joined.splitlines() if line.strip() and not line.startswith("#")]
        found: list[Command] = []
        for line in joined.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            elif found:
                found[-1].shown.append(line)
            else:
                raise ValueError(f"line {self.line}: a console block begins with '$ '")
        return found


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    above: list[str] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if not line.startswith("```"):
            above = [*above, line][-3:] if line else above
            continue
        content = []
        for _, inner in lines:
            if inner == "```":
                break
            content.append(inner)
        else:
            raise ValueError(f"{page}:{number}: the block is not closed")
        last = above[-1] if above else ""
        title = re.fullmatch(r"`([\w./-]+)`:", last)
        excerpt = re.fullmatch(r"<!-- excerpt: (.+) -->", last)
        found.append(
            Block(
                line.removeprefix("```"),
                number,
                "".join(f"{inner}\n" for inner in content),
                title[1] if title else "",
                excerpt[1] if excerpt else "",
            )
        )
        above = []
    return found
