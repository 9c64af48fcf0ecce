"""The process is tuned by what the CPU is, recorded, and the same again when a run is resumed."""

from __future__ import annotations

import json

import pytest

from oarlock.runtime import MKL_PATH, choose_mkl_path, mkl_paths

AVX2_FLAGS = "fpu sse2 avx avx2 fma"
AVX512_FLAGS = f"{AVX2_FLAGS} avx512f avx512dq avx512bw avx512vl"
QUICK = ["train", "model.widths=[8]", "trainer.epochs=2", "hydra.run.dir=run"]


def cpuinfo(vendor, flags):
    return f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("vendor", "flags", "paths"),
    [
        ("AuthenticAMD", AVX2_FLAGS, ["5"]),
        ("AuthenticAMD", AVX512_FLAGS, ["5", "7"]),
        ("AuthenticAMD", AVX512_FLAGS.replace(" avx512vl", ""), ["5"]),
        ("AuthenticAMD", "fpu sse2 avx", []),
        ("GenuineIntel", AVX512_FLAGS, []),
    ],
)
def test_the_paths_that_a_cpu_can_run(vendor, flags, paths):
    assert mkl_paths(cpuinfo(vendor, flags)) == paths


def test_no_path_without_linux():
    assert mkl_paths("") == []


@pytest.mark.parametrize(
    ("tune", "environment", "recorded", "path"),
    [
        (True, None, None, "7"),
        (False, None, None, ""),
        (True, "4", None, "4"),  # what the user has set stays
        (False, "4", None, "4"),
        (True, None, {MKL_PATH: "5"}, "5"),  # a resumed run computes as it did before
        (True, "4", {MKL_PATH: "5"}, "5"),
        (True, "4", {MKL_PATH: "4"}, "4"),
        (True, "4", {}, ""),
        (True, None, {MKL_PATH: "99"}, "7"),  # unless this CPU cannot
    ],
)
def test_which_path_a_run_takes(tune, environment, recorded, path):
    assert choose_mkl_path(tune, cpuinfo("AuthenticAMD", AVX512_FLAGS), environment, recorded) == path


def record(tmp_path):
    return json.loads((tmp_path / "run" / "run.json").read_text())


def test_an_untuned_run_stays_one_and_numbers_agree(oarlock, tmp_path):
    records = {}
    for tune in ("true", "false"):
        done = oarlock(*QUICK[:-1], f"hydra.run.dir=tune-{tune}", f"runtime.tune={tune}", env={MKL_PATH: ""})
        assert done.returncode == 0, done.stderr
        records[tune] = json.loads((tmp_path / f"tune-{tune}" / "run.json").read_text())
    assert records["false"]["runtime"] == {}
    assert {"mmap_threshold", "trim_threshold"} <= records["true"]["runtime"].keys()
    for name, value in records["true"]["metrics"].items():
        assert value == pytest.approx(records["false"]["metrics"][name], rel=1e-3, abs=1e-2)


def test_resume_computes_as_the_run_is_recorded_and_says_where_it_cannot(oarlock, tmp_path):
    sse = {MKL_PATH: "4"}
    assert oarlock(*QUICK, env=sse).returncode == 0
    assert record(tmp_path)["runtime"][MKL_PATH] == "4"
    again = oarlock("resume", "run", "trainer.epochs=3", env=sse)
    assert (again.returncode, record(tmp_path)["runtime"][MKL_PATH]) == (0, "4")
    # As if it came from a machine with a CPU that this one is not.
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text().replace('"MKL_DEBUG_CPU_TYPE": "4"', '"MKL_DEBUG_CPU_TYPE": "99"'))
    elsewhere = oarlock("resume", "run", "trainer.epochs=4", env={MKL_PATH: ""})
    assert elsewhere.returncode == 0
    assert f"{MKL_PATH} is" in elsewhere.stderr
    assert "was '99' when the run was recorded" in elsewhere.stderr
    assert record(tmp_path)["runtime"].get(MKL_PATH) != "99"


def test_what_a_later_run_of_the_process_cannot_change_is_said(oarlock, tmp_path):
    one_process = ["hydra/sweeper=basic", "hydra/launcher=basic"]
    done = oarlock("train", "-m", *one_process, "runtime.tune=true,false", "model.widths=[8]", "trainer.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "runtime.tune=false is too late" in done.stderr
