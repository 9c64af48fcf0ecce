"""Which version is live: going back, restoring, and what cannot be."""

import json
import random
import shutil
import subprocess

import pytest

from oarlock_plugins.service import models
from tests.conftest import command, environment
from tests.plugins.service.server.bundles import Network, publish
from tests.plugins.service.server.conftest import Service
from tests.plugins.service.server.test_versions import BAD


@pytest.fixture
def folder(tmp_path):
    """Three versions of the model toy."""
    for _ in range(3):
        publish(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def rollback(oarlock, folder):
    def run(*arguments, name="toy"):
        return oarlock("rollback", name, "--models", folder, *arguments)

    return run


def test_the_version_before_is_live_again_and_the_other_can_be_restored(rollback, folder, oarlock):
    done = rollback("--reason", "answers nonsense")
    assert (done.returncode, done.stdout) == (0, "withdrawn: toy version 3\nlive: toy version 2\n")
    assert models.candidates(folder / "toy") == [2, 1]
    assert models.withdrawn(folder / "toy")[3]["reason"] == "answers nonsense"
    done = oarlock("models", folder)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["nonsense", "live", "earlier"]
    done = rollback("--restore", 3)
    assert (done.returncode, done.stdout) == (0, "restored: toy version 3\nlive: toy version 3\n")
    assert models.candidates(folder / "toy") == [3, 2, 1]


def test_the_number_of_a_withdrawn_version_is_not_given_again(rollback, folder):
    assert rollback("--reason", "answers nonsense").returncode == 0
    shutil.rmtree(folder / "toy" / "3")
    path, version = models.publish(folder, "toy", lambda scratch: (scratch / "file").write_text("x"))
    assert (path.name, version) == ("4", 4)
    assert models.candidates(folder / "toy") == [4, 2, 1]


def test_a_full_disk_is_said_and_leaves_everything_as_it_was(folder):
    done = subprocess.run(["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command("rollback", "toy", "--models", folder)],
                          env=environment(), capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("toy/withdrawn.json cannot be written: File too large.\n")
    assert done.stderr.count("\n") == 1
    assert models.candidates(folder / "toy") == [3, 2, 1]
    assert sorted(path.name for path in (folder / "toy").iterdir()) == [".rollback.lock", "1", "2", "3"]


def test_back_over_several_versions(rollback, folder):
    assert rollback("--to", 1).returncode == 0
    assert models.candidates(folder / "toy") == [1]
    assert {version: entry["reason"] for version, entry in models.withdrawn(folder / "toy").items()} == {
        2: "rolled back to 1", 3: "rolled back to 1",
    }  # fmt: skip


def test_the_live_version_is_the_one_that_a_server_serves(rollback, folder, oarlock, tmp_path):
    """Above it are versions that are bad in all ways; they are withdrawn with it."""
    for number, make in enumerate(BAD, 4):
        make(folder, number, random.Random(number))
    listed = json.loads(oarlock("models", folder, "--json").stdout)["toy"]
    assert {entry["state"] for entry in listed[:-3]} == {"bad", "damaged"}
    assert [entry["state"] for entry in listed[-3:]] == ["live", "earlier", "earlier"]
    service = Service(folder, tmp_path / "serve.log").wait("toy", version=3)
    try:
        assert "version 3 of toy is live already" in rollback("--to", 3).stderr
        assert "toy version 4 cannot be served: 4: " in rollback("--to", 4).stderr
        done = rollback()
        above = [f"withdrawn: toy version {number}" for number in range(3, 4 + len(BAD))]
        assert (done.returncode, done.stdout.splitlines()) == (0, [*above, "live: toy version 2"])
        service.wait("toy", version=2)
    finally:
        service.stop()


def test_another_signature_where_a_server_takes_any(rollback, folder, oarlock):
    publish(folder, network=Network((9, 4)))
    found = oarlock("models", folder).stdout.splitlines()
    assert "bad: 4: its inputs are x FP32 [rows, 9], those of version 1 are x FP32 [rows, 8]." in found[0]
    assert found[1].endswith("live")
    assert oarlock("models", folder, "--any-signature").stdout.splitlines()[0].endswith("live")
    assert "--to 3: version 3 of toy is live already." in rollback("--to", 3).stderr
    assert rollback("--any-signature").stdout == "withdrawn: toy version 4\nlive: toy version 3\n"
    assert "toy version 4 cannot be served" in rollback("--restore", 4).stderr
    assert rollback("--restore", 4, "--any-signature").stdout == "restored: toy version 4\nlive: toy version 4\n"


def test_the_live_version_changes_once(folder, monkeypatch):
    """Whatever moment a server looks at, it sees the old live version or the one that was asked for."""
    from oarlock_plugins.service.updates import rollback as module

    seen, withdraw = [], models.withdraw

    def watched(*arguments):
        withdraw(*arguments)
        seen.append(models.candidates(folder / "toy")[0])

    monkeypatch.setattr(models, "withdraw", watched)
    module.withdraw(folder / "toy", 1, "")
    assert seen == [3, 1]


@pytest.mark.parametrize(
    ("before", "arguments", "message"),
    [
        ([], ["--to", 3], "--to 3: version 3 of toy is live already."),
        ([], ["--to", 9], "--to 9: toy has no such version. Valid: 1, 2, 3."),
        ([], ["--restore", 2], "--restore 2: it is not withdrawn. No version is."),
        ([3], ["--restore", 2], "--restore 2: it is not withdrawn. Valid: 3."),
        ([3], ["--to", 3], "--to 3: version 3 of toy is withdrawn."),
        ([3, 2], [], "toy: version 1 is live, and there is none before it to go back to.\nWithdrawn: 2, 3;"),
        ([3, 2, 1], [], "toy: no version of it is live.\nWithdrawn: 1, 2, 3;"),
    ],
)
def test_what_cannot_be(rollback, folder, before, arguments, message):
    for version in before:
        models.withdraw(folder / "toy", version, "")
    done = rollback(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert sorted(models.withdrawn(folder / "toy")) == sorted(before)


def test_a_name_that_is_none(rollback):
    assert "error: tyo: models has no such model. Did you mean 'toy'?" in rollback(name="tyo").stderr


@pytest.mark.parametrize("damage", ["flipped", "answers"])
def test_a_version_that_cannot_be_served_does_not_become_live(rollback, folder, damage):
    if damage == "flipped":
        path = folder / "toy" / "2" / "model.onnx"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        shutil.rmtree(folder / "toy" / "2")
        publish_wrong(folder)
    done = rollback()
    assert done.returncode == 2
    assert "toy version 2 cannot be served" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert models.candidates(folder / "toy")[0] == 3
    assert rollback("--to", 1).returncode == 0


def publish_wrong(folder):
    """Version 2 with another reference than its network's answers."""
    network = Network()
    publish(folder / "elsewhere", network=network, answers=network(network.rows(4)) + 1)
    (folder / "elsewhere" / "toy" / "1").rename(folder / "toy" / "2")
    shutil.rmtree(folder / "elsewhere")


def test_the_list_as_json_and_with_a_damaged_version(oarlock, folder):
    (folder / "toy" / "3" / "bundle.json").write_text("{}")
    models.withdraw(folder / "toy", 1, "old")
    done = oarlock("models", folder, "--json")
    found = json.loads(done.stdout)["toy"]
    assert [(entry["version"], entry["state"]) for entry in found] == [(3, "damaged"), (2, "live"), (1, "withdrawn")]
    assert "bundle.json is damaged" in found[0]["reason"]
    assert found[1]["metrics"] == {"valid/accuracy": 0.9}


@pytest.mark.parametrize(
    "command",
    [
        ["models", "models/toy"],
        ["rollback", "toy", "--models", "models/toy"],
        ["export", "run", "--models", "models/toy"],
    ],
    ids=lambda command: command[0],
)
def test_the_folder_of_one_model_is_not_the_folder_of_models(command, oarlock, tmp_path):
    (tmp_path / "models" / "toy" / "1").mkdir(parents=True)
    (tmp_path / "models" / "toy" / "1" / "bundle.json").touch()
    done = oarlock(*command)
    assert done.returncode == 2
    assert "models/toy is the folder of one model, its versions are 1.\nName the folder that it is in: " in done.stderr
    assert [path.name for path in (tmp_path / "models" / "toy").iterdir()] == ["1"]


def test_the_list_of_an_empty_folder_and_of_none(oarlock, tmp_path):
    (tmp_path / "empty").mkdir()
    assert oarlock("models", "empty").stdout == "empty: it has no model\n"
    done = oarlock("models", "none")
    assert (done.returncode, done.stderr) == (2, "error: none: not a folder of models: No such file or directory.\n")
