"""The hook of the group `augmentation`."""

from __future__ import annotations

from oarlock import hookspec


@hookspec
def augment(batch, rng):
    """Change a training batch: set `batch.inputs`, as they are stored, before the data's `preprocess`.

    Called for each chosen augmentation, in list order. Draw from `rng` alone, a `numpy.random.Generator` that is a
    function of (seed, epoch, batch), and a resumed run draws the same.
    """
