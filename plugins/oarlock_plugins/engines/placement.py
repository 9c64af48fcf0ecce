"""Where wide weights lie in memory: beside the addresses at which MKL reads them in a slow way.

A product of 17 to 64 rows with weights whose rows are a multiple of 2 KiB apart, as 512 numbers are, takes MKL's AVX2
path up to 1.9 times as long where the weights begin at a multiple of 32 bytes, as memory of their own does: it then reads
a column of them where they lie, and all of its numbers fall into the same few lines of the cache. Otherwise it first makes
a copy that it can read in order. The results have the same bits. With fewer rows the copy costs more than it brings, with
more there is one anyway. The figures are in benchmarks/LOG.md.
"""

from __future__ import annotations

import math
from typing import Any

from oarlock_plugins.engines import mkl, private
from oarlock_plugins.engines.rewriting import name_in_scope

STRIDE = 2048
ROWS = range(17, 65)
ALIGNED, CACHE_LINE, BESIDE = 32, 64, 16
NUMBER = 4  # bytes of a float32
# The operators that make such products, and which of their operands these are made of.
FACTORS = {"pd_op.fc": slice(0, 2), "pd_op.matmul": slice(0, 2), "pd_op.addmm": slice(1, 3)}


def wide_weights(program: Any) -> list[str]:
    """The parameters that a program would read faster elsewhere, by name."""
    if not mkl.takes(mkl.AVX2):
        return []
    found = {}
    for op in program.global_block().ops:
        if op.name() not in FACTORS:
            continue
        rows, weights = op.operands_source()[FACTORS[op.name()]]
        if (
            weights.get_defining_op().name() == "builtin.parameter"
            and str(weights.dtype).upper().endswith("FLOAT32")
            and len(weights.shape) == 2
            and weights.shape[1] * NUMBER % STRIDE == 0
            and math.prod(rows.shape[:-1]) in ROWS
            and not any(op.attrs().get(name) for name in ("transpose_x", "transpose_y"))
        ):
            found[name_in_scope(weights.get_defining_op())] = True
    return list(found)


def lay_beside(tensor: Any) -> None:
    """Move a live tensor of a CPU beside a multiple of 32 bytes, unless it lies there."""
    import paddle

    if tensor.data_ptr() % ALIGNED:
        return
    size = math.prod(tensor.shape)
    room = paddle.empty([size + CACHE_LINE // NUMBER], "float32")
    start = (BESIDE - room.data_ptr()) % CACHE_LINE // NUMBER
    private.move([tensor], room, [start])
