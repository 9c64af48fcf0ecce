"""Products with weights that begin at a multiple of 32 bytes, and beside one: what `engines/placement.py` is about.

Both weights have the same numbers, and the products the same bits, which is checked. The times are those of Paddle's eager
`matmul`, the lower quartile of each turn, the least of the turns, which alternate: others on the machine only ever make one
longer. A ratio above 1 is time that the moving saves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings

import machine

PATHS = {"as chosen": None, "sse": "4", "avx2": "5", "avx512": "7"}


def seconds(product, times):
    """The lower quartile of so many calls."""
    product()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        product()
        found.append(time.perf_counter() - started)
    return statistics.quantiles(found, n=4)[0]


def ratio(rows, depth, width, turns):
    """How many times as long the product with weights at a multiple of 32 bytes takes."""
    import numpy as np
    import paddle

    from oarlock_plugins.engines import placement

    random = np.random.default_rng(0)
    left = paddle.to_tensor(random.standard_normal((rows, depth), "float32"))
    aligned = paddle.to_tensor(random.standard_normal((depth, width), "float32"))
    beside = aligned.clone()
    placement.lay_beside(beside)
    assert aligned.data_ptr() % placement.ALIGNED == 0 != beside.data_ptr() % placement.ALIGNED
    if not np.array_equal((left @ aligned).numpy(), (left @ beside).numpy()):
        print(f"{rows} x {depth} x {width}: other bits")
    times = max(5, min(200, int(2e8 / (rows * depth * width))))
    found = [(seconds(lambda: left @ aligned, times), seconds(lambda: left @ beside, times)) for _ in range(turns)]
    return min(one for one, _ in found) / min(other for _, other in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16, 17, 24, 32, 48, 64, 65, 80, 128])
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 500, 512, 1024, 2048])
    parser.add_argument("--depth", type=int, default=784)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument(
        "--mkl", choices=PATHS, default="as chosen", help="MKL's path; as oarlock chooses it (%(default)s)"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    from oarlock.runtime import MKL_PATH, setup_runtime

    if PATHS[args.mkl]:
        os.environ[MKL_PATH] = PATHS[args.mkl]
    path = setup_runtime(tune=True).get(MKL_PATH, "its own")
    print(machine.description("paddlepaddle", "numpy") + f"; {MKL_PATH} {path}, one thread, depth {args.depth}")
    print(f"\n| rows | {' | '.join(f'{width} wide' for width in args.widths)} |\n|---|{'---|' * len(args.widths)}")
    for rows in args.rows:
        print(f"| {rows} | {' | '.join(f'{ratio(rows, args.depth, width, args.turns):.2f}' for width in args.widths)} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
