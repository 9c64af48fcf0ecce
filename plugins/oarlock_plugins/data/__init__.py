"""Built-in data."""

from oarlock import hookimpl
from oarlock_plugins.data.arrays import ArrayFiles
from oarlock_plugins.data.csv import CsvFile
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.data.mnist import Mnist


@hookimpl
def register_components(register):
    register("data/digits", Digits)
    register("data/mnist", Mnist)
    register("data/arrays", ArrayFiles)
    register("data/csv", CsvFile)
