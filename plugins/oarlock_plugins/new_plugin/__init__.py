"""`oarlock new-plugin`: a package of one's own, from an idea to a passing test."""

from __future__ import annotations

import datetime
import keyword
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from string import Template

from oarlock import API_VERSION, UserError, hookimpl

TEMPLATE = Path(__file__).parent / "template"
KINDS = sorted(path.name.partition(".")[0] for path in (TEMPLATE / "kinds").iterdir())
LICENCES = sorted(path.name.removesuffix(".txt") for path in (TEMPLATE / "licences").iterdir())
MANY = ("callback", "regularizer")


def configure(parser):
    parser.add_argument("name", help="the component's name, as in 'oarlock train optimizer=NAME'")
    parser.add_argument("--kind", choices=KINDS, required=True, help="what it is")
    parser.add_argument("--licence", choices=[*LICENCES, "none"], default="Apache-2.0", help="(default: %(default)s)")
    parser.add_argument("--author", help="for the licence (default: the authors of the package)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to make it (default: ./oarlock-NAME)")


def run(args):
    name = args.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("_0123456789")
        raise UserError(f"new-plugin {name}: expected a name in lower case, with digits and underscores, such as "
                        f"'{near if near and near != name else f'my_{args.kind}'}'.")  # fmt: skip
    taken = args.host.registry.entries.get(f"{args.kind}/{name}")
    if taken is not None:
        raise UserError(f"new-plugin {name}: {taken.path} is there already, from {taken.plugin.package}. "
                        "Choose another name.")  # fmt: skip
    plugin = next((one for one in args.host.plugins if one.name == name), None)
    if plugin is not None:
        raise UserError(f"new-plugin {name}: there is a plugin of this name already, from {plugin.package}. "
                        f"Choose another name, such as 'my_{name}'.")  # fmt: skip
    module = f"oarlock_{name}"
    if find_spec(module) is not None:
        raise UserError(
            f"new-plugin {name}: there is a package {module} already. Choose another name, such as 'my_{name}'."
        )
    folder = args.to or Path(f"oarlock-{name.replace('_', '-')}")
    if folder.exists():
        raise UserError(f"new-plugin {name}: {folder} exists already. Choose another place with --to.")
    write(folder, name, args.kind, args.licence, args.author)
    choose = chosen(args.kind, name)
    place = folder if folder.is_absolute() else f"./{folder}"
    print(f"made {folder}: {choose} trains as it is. Next:\n"
          f"  pip install -e '{place}[test]'\n"
          f"  pytest {folder}\n"
          f"  oarlock train {choose}\n"
          f"then write your own in {folder}/src/oarlock_{name}/__init__.py")  # fmt: skip


def chosen(kind, name):
    """How a component is chosen on the command line."""
    return f"+{kind}={name}" if kind in MANY else f"{kind}={name}"


def write(folder, name, kind, licence, author):
    """Write the package's files."""
    distribution, module = f"oarlock-{name.replace('_', '-')}", f"oarlock_{name}"
    words = {
        "name": name, "kind": kind, "module": module, "distribution": distribution, "licence": licence,
        "cls": "".join(part.capitalize() for part in (*name.split("_"), kind)), "choose": chosen(kind, name),
        "summary": f"The {kind} '{name}'.", "api": API_VERSION, "oarlock_version": version("oarlock"),
        "author": author or f"the authors of {distribution}", "year": datetime.date.today().year,
    }  # fmt: skip
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        ".gitignore": "gitignore.txt",
        ".github/workflows/test.yml": "ci.yml.txt",
        f"src/{module}/__init__.py": f"kinds/{kind}.py.txt",
        f"tests/test_{name}.py": "test.py.txt",
    }
    if licence != "none":
        files["LICENSE"] = f"licences/{licence}.txt"
    for target, source in files.items():
        text = Template((TEMPLATE / source).read_text(encoding="utf-8")).substitute(words)
        if licence == "none":
            text = text.replace('license = "none"\n', 'classifiers = ["Private :: Do Not Upload"]\n')
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "src" / module / "py.typed").touch()


@hookimpl
def register_commands(register):
    register("new-plugin", help="Make a package for a component of your own.", configure=configure, run=run)
