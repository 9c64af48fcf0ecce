"""The environments of the peers: one for each family, made when it is missing, never part of oarlock's own.

python benchmarks/environments.py          # make all of them
python benchmarks/environments.py torch    # make one
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# What pip has installed is compiled; this checkout and what the peers run is too, from their second process on.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FOLDER = Path(os.environ.get("OARLOCK_BENCH_ENVIRONMENTS", Path(__file__).parent / ".environments"))
# Pinned, so that two runs of the benchmark compare oarlock with the same peers.
REQUIREMENTS = {
    "torch": ("torch==2.13.0", "numpy", "lightning==2.6.6", "jsonargparse[signatures]==4.53.0"),
    "jax": ("jax==0.10.2", "keras==3.15.1", "numpy"),
    "ray": ("ray[tune]==2.60.0", "paddlepaddle==3.3.1", "numpy"),
    "litserve": ("litserve==0.2.19", "onnxruntime==1.32.0"),
    "mlserver": ("mlserver==1.7.1", "onnxruntime==1.32.0"),
    "plots": ("matplotlib==3.11.2", "numpy"),
}
OWN = "oarlock"  # the environment that this runs in: oarlock, Paddle and Hydra
VERSIONS = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)  # fmt: skip


class Missing(Exception):
    """An environment cannot be made; the message says why, and the benchmark goes on without its peers."""


def python(name: str) -> str:
    """The interpreter of an environment, which is made where it is missing or made for other requirements.

    Raises:
        Missing: it cannot be made.
    """
    if name == OWN:
        return sys.executable
    folder, wanted = FOLDER / name, "\n".join(REQUIREMENTS[name])
    stamp, interpreter = folder / "requirements.txt", folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and interpreter.exists():
        return str(interpreter)
    print(f"making the environment of {name}: {' '.join(REQUIREMENTS[name])}", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(interpreter), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            said = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("ERROR")]
            raise Missing(f"its environment cannot be made: {said[-1] if said else f'exit code {done.returncode}'}")
    stamp.write_text(wanted, encoding="utf-8")
    return str(interpreter)


def versions(name: str, *own: str) -> dict[str, str]:
    """The versions of what an environment was made for; in oarlock's own, of the distributions named."""
    names = own if name == OWN else [one.split("==")[0].split("[")[0] for one in REQUIREMENTS[name]]
    done = subprocess.run([python(name), "-c", VERSIONS, *names], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    for name in sys.argv[1:] or REQUIREMENTS:
        try:
            print(f"{name}: {python(name)}")
        except Missing as reason:
            print(f"{name}: missing, {reason}")


if __name__ == "__main__":
    main()
