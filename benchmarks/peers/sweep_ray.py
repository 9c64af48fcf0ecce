"""Trials of trial.py by Ray Tune: python sweep_ray.py ARRAYS FOLDER REUSE LEARNING_RATE,… SEEDS

As it comes, each trial has a worker process of its own, and imports Paddle there; with REUSE a worker makes one trial after
the other. Two trials run side by side.
"""

from __future__ import annotations

import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}

import ray
import trial
from ray import tune


def train(arrays, config):
    import paddle

    paddle.disable_static()  # Ray makes each trial in a new thread of its worker, where Paddle would build programs
    return {"accuracy": trial.train(arrays, config["learning_rate"], config["seed"])}


def main():
    arrays, folder, reuse, rates, seeds = sys.argv[1:]
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    space = {
        "learning_rate": tune.grid_search([float(rate) for rate in rates.split(",")]),
        "seed": tune.grid_search(list(range(int(seeds)))),
    }  # fmt: skip
    tuner = tune.Tuner(
        lambda config: train(arrays, config),
        param_space=space, tune_config=tune.TuneConfig(metric="accuracy", mode="max", reuse_actors=reuse == "reuse"),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    )  # fmt: skip
    results = tuner.fit()
    if results.errors:
        sys.exit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    for result in results:
        print(f"accuracy {result.metrics['accuracy']:.4f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
