"""Processes that train in turns: started together, pinned alike, asked one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import environments
from workloads import PEERS

CHECKPOINT_SECONDS = 60  # the default of trainer.checkpoint.every_seconds
START_SECONDS = 300
TURN_SECONDS = 120
EVERY = 3  # so many turns of others lie between two of the reference


@dataclass(frozen=True)
class Peer:
    """Somebody who trains.

    Attributes:
        script: the file below peers/.
        environment: see environments.py.
        label: what it is called on the page.
    """

    script: str
    environment: str
    label: str


OARLOCK = "oarlock"
PEER = {
    OARLOCK: Peer("train_oarlock.py", environments.OWN, "oarlock"),
    "handwritten": Peer("train_paddle.py", environments.OWN, "Paddle, loop by hand"),
    "tuned": Peer("train_paddle.py", environments.OWN, "Paddle, loop by hand, tuned"),
    "fit": Peer("train_paddle.py", environments.OWN, "`paddle.Model.fit`"),
    "fit-large": Peer("train_paddle.py", environments.OWN, "`paddle.Model.fit`, large evaluation batches"),
    "fit-tuned": Peer("train_paddle.py", environments.OWN, "`paddle.Model.fit`, tuned"),
    "torch": Peer("train_torch.py", "torch", "torch, loop by hand"),
    "torch-tuned": Peer("train_torch.py", "torch", "torch, loop by hand, tuned"),
    "torch-compile": Peer("train_torch.py", "torch", "torch.compile, tuned"),
    "lightning": Peer("train_torch.py", "torch", "Lightning, bar off"),
    "lightning-tuned": Peer("train_torch.py", "torch", "Lightning, tuned"),
    "keras": Peer("train_keras.py", "jax", "Keras on JAX"),
    "keras-tuned": Peer("train_keras.py", "jax", "Keras on JAX, tuned"),
    "jax": Peer("train_jax.py", "jax", "JAX, jitted step"),
    "jax-scan": Peer("train_jax.py", "jax", "JAX, epoch as one scan"),
    "oarlock-eager": Peer("train_oarlock.py", environments.OWN, "oarlock, engine=eager"),
}


class Failed(Exception):
    """A trainer ended before it should; the message holds the end of what it printed."""


def environment_variables(threads):
    """What a trainer's process is started with."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {**os.environ, **limits, "GLOG_minloglevel": "2", "PYTHONPATH": str(PEERS), "TF_CPP_MIN_LOG_LEVEL": "3"}


class Trainer:
    """A process that trains in turns.

    Args:
        variant: who trains.
        spec: the file that tells it what.
        log: the file for its output.
        threads: how many it may use.
        core: the core that it starts on; None for all.

    Raises:
        Missing: it has no environment.
    """

    def __init__(self, variant, spec, log, threads, core):
        peer, self.variant, self._log = PEER[variant], variant, log
        command = [environments.python(peer.environment), str(PEERS / peer.script), variant, str(spec)]
        mine, its = os.pipe()
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command, env={**environment_variables(threads), "OARLOCK_BENCH_TURN": f"{its} 0"}, cwd=log.parent,
                stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=[its], text=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None,
            )  # fmt: skip
        os.close(its)
        self._reports = os.fdopen(mine)

    def wait(self, seconds):
        """What the process reports next.

        Raises:
            Failed: it has ended, or says nothing for so long.
        """
        ready, _, _ = select.select([self._reports], [], [], seconds)
        line = self._reports.readline() if ready else ""
        if line:
            return json.loads(line)
        self.close()
        tail = self._log.read_text(encoding="utf-8", errors="replace").strip()[-3000:]
        raise Failed(f"{'ended' if ready else f'said nothing for {seconds} s'}: {tail}")

    def go(self, order):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()

    def pin(self, core):
        """Move every thread of the process to a core."""
        with contextlib.suppress(ProcessLookupError):
            for task in os.listdir(f"/proc/{self._process.pid}/task"):
                os.sched_setaffinity(int(task), {core})

    def peak_memory(self):
        """The largest resident set that the process has had, in MiB."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) / 1024
        return float("nan")

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reports.close()


def run_round(variants, spec, folder, threads, turn_count, turn_seconds, reference=OARLOCK):
    """One round: new processes, and their turns.

    The reference takes a turn after every few of the others, so that each of them is compared with the two turns of the
    reference around its own. The order of the others rotates.

    Args:
        variants: who takes part, with or without the reference.
        spec: what to train; its folder is where files are written.
        folder: where logs are written.
        threads: 1 pins everybody to one core.
        turn_count: turns of each.
        turn_seconds: seconds of a turn, at least; it ends with the epoch.
        reference: whom the others are compared with.

    Returns:
        For each variant that took part: seconds of an epoch (median of the turns), the ratio to the reference's (median of
        the turns), accuracy, and peak memory in MiB; and for each that could not, why.
    """
    spec.write(folder / "spec.json")
    available = sorted(os.sched_getaffinity(0))
    last = available[-1]
    with contextlib.ExitStack() as stack:
        trainers, missing = {}, {}
        for number, variant in enumerate(dict.fromkeys([reference, *variants])):
            # They start on all cores, and are then moved to one.
            core = available[number % len(available)] if threads == 1 else None
            try:
                trainers[variant] = Trainer(variant, folder / "spec.json", folder / f"{variant}.log", threads, core)
            except environments.Missing as reason:
                missing[variant] = str(reason)
                continue
            stack.callback(trainers[variant].close)

        def answer(variant, seconds):
            """What a trainer reports; None where it has failed, and leaves the round."""
            try:
                return trainers[variant].wait(seconds)
            except Failed as reason:
                missing[variant] = str(reason)
                del trainers[variant]
                return None

        for variant in list(trainers):
            answer(variant, START_SECONDS)
        if threads == 1:
            for trainer in trainers.values():
                trainer.pin(last)
        turns = {variant: [] for variant in trainers}

        def take_turn(variant):
            # Threads of OpenMP spin for a while after their work.
            time.sleep(0.25 if threads > 1 else 0.0)
            trainers[variant].go(turn_seconds)
            report = answer(variant, TURN_SECONDS)
            if report is not None:
                turns[variant].append(report["seconds"] / report["epochs"])
            return report

        for variant in list(trainers):  # what is compiled or cached late is not measured
            trainers[variant].go(turn_seconds / 2)
            answer(variant, TURN_SECONDS)
        ratios = {variant: [] for variant in trainers}
        for number in range(turn_count):
            others = [variant for variant in trainers if variant != reference]
            others = others[number % max(1, len(others)) :] + others[: number % max(1, len(others))]
            for start in range(0, max(1, len(others)), EVERY):
                if start == 0 and reference in trainers:
                    take_turn(reference)
                group = [variant for variant in others[start : start + EVERY] if take_turn(variant)]
                if reference not in trainers or not take_turn(reference):
                    raise Failed(f"{reference}: {missing[reference]}")
                around = statistics.mean(turns[reference][-2:])
                for variant in group:
                    ratios[variant].append(turns[variant][-1] / around)
        results = {}
        for variant, trainer in list(trainers.items()):
            memory = trainer.peak_memory()
            trainer.go("end")
            report = answer(variant, TURN_SECONDS)
            if report is not None:
                charge = 1 + report["save"] / CHECKPOINT_SECONDS
                results[variant] = {
                    "epoch": statistics.median(turns[variant]) * charge, "save": report["save"],
                    "ratio": statistics.median(ratios[variant]) if ratios[variant] else 1.0,
                    "accuracy": report["accuracy"], "memory": memory,
                }  # fmt: skip
        if reference not in results:
            raise Failed(f"{reference}: {missing[reference]}")
        charge = 1 + results[reference]["save"] / CHECKPOINT_SECONDS
        for variant in results:
            if variant != reference:
                results[variant]["ratio"] /= charge
    return results, missing


def gather(rounds, key):
    """A figure of each variant in each round that it took part in: `{variant: [values]}`."""
    names = dict.fromkeys(name for results, _ in rounds for name in results)
    return {name: [results[name][key] for results, _ in rounds if name in results] for name in names}


def reasons(rounds):
    """Why variants are missing, the last line of each: `{variant: reason}`."""
    found = {}
    for _, missing in rounds:
        found |= {name: (reason.splitlines() or ["no reason"])[-1][:300] for name, reason in missing.items()}
    return found
