"""From nothing: train, export, serve, and a public client gets the classes that the trained model gives."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as triton

from oarlock_plugins.service.bundle import open_bundle
from oarlock_plugins.service.engines import open_engine
from tests.conftest import ROOT

DIGITS = ROOT / "plugins" / "oarlock_plugins" / "data" / "digits.npz"


@pytest.mark.slow
def test_digits(oarlock, serve, tmp_path):
    done = oarlock("train", "trainer.epochs=2", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    done = oarlock("export", "run", "--models", "models", "--name", "digits")
    assert done.returncode == 0, done.stderr
    with np.load(DIGITS) as digits:
        rows, labels = digits["images"][:200].astype("uint8"), digits["labels"][:200]
    bundle = open_bundle(tmp_path / "models" / "digits" / "1")
    spec = bundle.inputs[0]
    rows = rows.reshape(-1, *spec.shape)
    offline = open_engine(bundle)({spec.name: rows})
    service = serve(tmp_path / "models").wait("digits")
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        for binary in (True, False):
            given = triton.InferInput(spec.name, rows.shape, spec.datatype)
            given.set_data_from_numpy(rows, binary_data=binary)
            wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in offline]
            answer = client.infer("digits", [given], outputs=wanted)
            # One engine, one batch: the same bits, also by way of decimal numbers.
            for name, array in offline.items():
                np.testing.assert_array_equal(answer.as_numpy(name), array)
        assert (answer.as_numpy("class") == labels).mean() > 0.9
        alone = []
        for row in rows[:20]:
            given = triton.InferInput(spec.name, [1, *spec.shape], spec.datatype)
            given.set_data_from_numpy(row[None])
            alone.append(client.infer("digits", [given]).as_numpy("probabilities")[0])
        np.testing.assert_allclose(alone, offline["probabilities"][:20], atol=bundle.tolerance, rtol=bundle.tolerance)
    # Paddle's own engine gives the same to the bundle's tolerance.
    other = serve(tmp_path / "models", "--engine", "paddle").wait("digits", seconds=60)
    with triton.InferenceServerClient(f"127.0.0.1:{other.port}") as client:
        assert client.get_model_metadata("digits")["platform"] == "paddle_inference"
        given = triton.InferInput(spec.name, rows.shape, spec.datatype)
        given.set_data_from_numpy(rows)
        found = client.infer("digits", [given]).as_numpy("probabilities")
        np.testing.assert_allclose(found, offline["probabilities"], atol=bundle.tolerance, rtol=bundle.tolerance)
