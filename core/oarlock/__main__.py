"""`python -m oarlock`."""

from oarlock.cli import run

run()
