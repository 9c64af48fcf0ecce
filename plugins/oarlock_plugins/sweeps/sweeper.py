"""A sweep from its arguments to its exit code: what Hydra's sweeper hands over is checked, driven and reported."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from oarlock import UserError, say, shown_path
from oarlock_plugins.sweeps import fork_server
from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.display import display_for, summary
from oarlock_plugins.sweeps.driver import Driver
from oarlock_plugins.sweeps.ledger import Trial
from oarlock_plugins.sweeps.options import Search as Options
from oarlock_plugins.sweeps.pool import Pool
from oarlock_plugins.sweeps.search import Search, grid
from oarlock_plugins.sweeps.space import parse_space
from oarlock_plugins.sweeps.trials import SEED

# A sampler without `sweep.trials` makes so many, as Hydra's own does.
TRIALS = 20
# The folders of a sweep have the numbers of its trials, by which its ledger finds them again.
SUBDIR = "${hydra.job.num}"
# So many points of a grid are composed before the first is trained; the rest when their turn comes.
MOST_CHECKED = 1_000


class Sweep:
    """One sweep, made from a composed configuration.

    Args:
        loader: oarlock's config loader.
        config: the sweep's configuration.
        arguments: the overrides that are not Hydra's own.

    Raises:
        UserError: the space, the options, or a combination of components is not valid.
    """

    def __init__(self, loader: Any, config: DictConfig, arguments: list[str]) -> None:
        self.config = config
        options = OmegaConf.to_object(config.sweep) if OmegaConf.is_config(config.get("sweep")) else None
        if not isinstance(options, Options):
            raise UserError("sweep: this sweeper needs sweep=search.")
        self.options = options
        subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
        if subdir != SUBDIR:
            raise UserError(f"hydra.sweep.subdir={subdir}: the folders of this sweep are named by their trials' numbers.\n"
                            "Leave it out, or choose hydra/sweeper=basic.")  # fmt: skip
        given = {argument.partition("=")[0] for argument in arguments}
        params = [f"{key}={_joined(value)}" for key, value in options.params.items() if key not in given]
        space = parse_space([*params, *arguments], loader.is_group, loader)
        self.sampler = options.sampler or ("grid" if space.finite else "tpe")
        if self.sampler == "grid" and not space.finite:
            endless = next(one for one in space.parameters if not one.choices)
            raise UserError(f"{endless.key}={endless.describe()}: a grid needs a finite list: {endless.key}=1,2,3 or "
                            "choice(…) or range(…).")  # fmt: skip
        self.trials = options.trials if options.trials or self.sampler == "grid" else TRIALS
        if options.seeds > 1 and any(one.key == SEED for one in space.parameters):
            raise UserError(f"sweep.seeds={options.seeds} beside a sweep over seed: choose one of them.")
        self.composer = Composer(loader, config, space)
        self.composer.check()

    def check(self, launcher: Any) -> None:
        """Compose what can be known before the first run: a grid's points, the ends of a space.

        Raises:
            UserError: one of them is not valid, or nothing for this launcher.
        """
        unset = {"pruner": "none", "trial_timeout": None, "memory_limit": None}
        for name, value in unset.items() if not hasattr(launcher, "open_pool") else ():
            if (given := getattr(self.options, name)) != value:
                raise UserError(f"sweep.{name}={given}: this launcher returns when a run has ended; "
                                "choose hydra/launcher=local or ray.")  # fmt: skip
        self.composer.check_combinations()
        for values in islice(self._known_points(), MOST_CHECKED):
            self.composer.prepare(values)
        for device in self.devices() if hasattr(launcher, "check_device") else ():
            launcher.check_device(device)

    def devices(self) -> list[str]:
        """What the trials ask for, `device` in their configurations."""
        # Choices are kept as they are written, where a colon needs a backslash or quotes.
        swept = [choice.translate({ord(sign): None for sign in "\\\"'"}) for one in self.composer.space.parameters
                 if one.key == "device" for choice in one.choices]  # fmt: skip
        return swept or [self.composer.base_values()["device"]]

    def points(self, limit: int) -> list[list[str]]:
        """The overrides of the runs of a grid, or of a sample of a space; at most `limit`."""
        if self.sampler == "grid":
            return [self.composer.overrides(values) for values in islice(self._known_points(), limit)]
        pruning = {"warmup": 1, "reduction_factor": 2}
        search = Search(self.composer, "random", "none", min(limit, self.trials or TRIALS),
                        self.options.sampler_seed, 1, pruning)  # fmt: skip
        found = list(self._known_points())
        while len(found) < limit and (point := search.ask()) is not None:
            found.append(point.values)
        return [self.composer.overrides(values) for values in found]

    def _known_points(self) -> Iterator[dict[str, str]]:
        if self.sampler == "grid":
            yield from islice(grid(self.composer), self.trials)
            return
        for combination in self.composer.combinations():
            structure = {one.key: value for one, value in zip(self.composer.structure, combination, strict=True)}
            values = [one for one in self.composer.values if self.composer.applies(combination, one.key)]
            for end in ("low", "high"):
                ends = {one.key: _end(one, end) for one in values}
                yield {one.key: {**structure, **ends}[one.key] for one in self.composer.space.parameters
                       if one.key in structure or one.key in ends}  # fmt: skip

    def run(self, folder: Path, launcher: Any) -> int:
        """Run it; returns the exit code."""
        pool: Pool | None = None
        display = display_for(sys.stdout)
        try:
            driver = Driver(folder, self.options, self.composer, self.sampler, self.trials, display)
        except BaseException:
            display.close()
            raise
        try:
            if not driver.trials.has_more():
                pass  # everything had ended; no worker is started for it
            elif hasattr(launcher, "open_pool"):
                pool = launcher.open_pool(self.composer.base_values()["device"], driver.trials.total)
                fork_server.discard()  # another launcher has no use for it
                driver.run(pool)
            else:
                fork_server.discard()
                self._run_batches(driver, launcher)
        except UserError as error:
            if driver.trials.ledger.objectives or not self.options.objectives:
                raise
            raise UserError(f"{error}\nGo on with: {self._resume(folder)} sweep.objective=…") from error
        finally:
            display.close()
            if pool is not None:
                pool.close()
            driver.close()
        say(summary(driver.trials))
        if driver.interrupted:
            say(f"stopped by a signal; '{self._resume(folder)}' continues it", sys.stderr)
        return driver.code

    def _resume(self, folder: Path) -> str:
        """What to type to go on with it, with the plugins that it was made with; where its files are it knows."""
        flags = self.composer.flags[2 if self.composer.flags[:1] == ["--config-dir"] else 0 :]
        return shlex.join(["oarlock", "resume", *flags, shown_path(folder)])

    def _run_batches(self, driver: Driver, launcher: Any) -> None:
        """With a launcher of Hydra's: it numbers the jobs of a batch itself, so a batch has numbers in a row."""

        def launch(batch: list[Trial]) -> None:
            start = 0
            for end in range(1, len(batch) + 1):
                if end == len(batch) or batch[end].number != batch[end - 1].number + 1:
                    launcher.launch(
                        [trial.overrides for trial in batch[start:end]], initial_job_idx=batch[start].number
                    )
                    start = end

        # A sampler learns between two batches; a grid has nothing to learn.
        driver.run_batches(launch, sys.maxsize if self.sampler == "grid" else BATCH)


BATCH = 4


def _joined(value: Any) -> str:
    """What a file says of a parameter, as it is typed: the items of a list as choices, a text as it stands."""
    return ",".join(map(_typed, value)) if isinstance(value, list) else str(value)


def _typed(choice: Any) -> str:
    if choice is None or isinstance(choice, bool):
        return "null" if choice is None else str(choice).lower()
    text = str(choice)
    # Lists, functions and quotes are written out in the text itself.
    return f"'{text}'" if set(text) & set(",=") and not set(text) & set("[{('\"") else text


def _end(parameter: Any, end: str) -> str:
    if parameter.choices:
        return str(parameter.choices[0 if end == "low" else -1])
    return repr(getattr(parameter, end))
