"""`oarlock` with blocks of a few rows, each saved at once; it kills itself at the moment DIE_AT, counted from 0.

A moment is before something is brought to the disk, renamed or removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from oarlock.cli import main
from oarlock_plugins.service.predict import array_files, csv_files, work

moments = 0


def counted(function):
    def call(*arguments, **options):
        global moments
        if moments == int(os.environ.get("DIE_AT", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        moments += 1
        return function(*arguments, **options)

    return call


csv_files.BLOCK_BYTES = array_files.BLOCK_BYTES = int(os.environ["BLOCK_BYTES"])
work.SAVE_EVERY = 0.0
for owner, names in ((Path, ("mkdir", "rename", "replace", "unlink")), (os, ("fsync",)), (shutil, ("rmtree",))):
    for name in names:
        setattr(owner, name, counted(getattr(owner, name)))
code = main(sys.argv[2:])
if "COUNT" in os.environ:
    print(moments, file=sys.stderr)
sys.exit(code)
