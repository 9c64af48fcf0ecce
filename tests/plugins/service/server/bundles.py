"""Bundles that no run was exported to: small networks with known answers, made in milliseconds."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import BUNDLE, ONNX, REFERENCE, Bundle, TensorSpec

FEATURES, CLASSES = 8, 4


class Network:
    """A perceptron; `__call__` is what its bundle must answer.

    Args:
        widths: of the layers, from the input to the output.
        shift: added to every output, so that an answer tells which version it is of.
        repeat: compute the layers that are square so often: time without size.
    """

    def __init__(self, widths=(FEATURES, CLASSES), shift=0.0, seed=0, repeat=1):
        generator = np.random.default_rng(seed)
        self.widths = widths
        self.weights = []
        for pair in itertools.pairwise(widths):
            weight = (generator.standard_normal(pair) / np.sqrt(pair[0])).astype("float32")
            self.weights += [weight] * (repeat if pair[0] == pair[1] else 1)
        self.shift = np.float32(shift)

    def __call__(self, rows):
        for weight in self.weights[:-1]:
            rows = np.maximum(rows @ weight, 0)
        return rows @ self.weights[-1] + self.shift

    def rows(self, count, seed=1):
        return np.random.default_rng(seed).standard_normal((count, self.widths[0])).astype("float32")

    def onnx(self):
        nodes, tensors, value = [], [], "x"
        for number, weight in enumerate(self.weights):
            last = number == len(self.weights) - 1
            name = f"w{next(first for first, one in enumerate(self.weights) if one is weight)}"
            if name == f"w{number}":
                tensors.append(numpy_helper.from_array(weight, name))
            nodes.append(helper.make_node("MatMul", [value, name], [f"m{number}"]))
            if last:
                tensors.append(numpy_helper.from_array(np.full(weight.shape[1], self.shift, "float32"), "shift"))
            nodes.append(helper.make_node("Add" if last else "Relu", [f"m{number}", *(["shift"] if last else [])],
                                          ["y" if last else f"h{number}"]))  # fmt: skip
            value = f"h{number}"
        graph = helper.make_graph(
            nodes, "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", self.widths[0]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", self.widths[-1]])], tensors,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def write_bundle(folder, model, inputs, outputs, reference, class_names=None, tolerance=1e-4):
    """The files of a bundle; `reference` is (inputs, outputs), by name."""
    (folder / ONNX).write_bytes(model)
    arrays = {f"{kind}/{name}": np.ascontiguousarray(array) for kind, given in zip(("input", "output"), reference, strict=True)
              for name, array in given.items()}  # fmt: skip
    safetensors.numpy.save_file(arrays, folder / REFERENCE)
    bundle = Bundle(folder, inputs, outputs, class_names, {"valid/accuracy": 0.9}, "valid/accuracy", "max", tolerance,
                    {"onnxruntime": 0.0, "rows": 4}, {}, {"oarlock": "0.1.0"}, 1.0)  # fmt: skip
    (folder / BUNDLE).write_text(bundle.text())


def write_network(folder, network, rows=None, answers=None):
    """The files of a network's bundle; `rows` and `answers` put another reference into it."""
    rows = network.rows(4) if rows is None else rows
    answers = network(rows) if answers is None else answers
    write_bundle(folder, network.onnx(), (TensorSpec("x", "float32", (network.widths[0],)),),
                 (TensorSpec("y", "float32", (network.widths[-1],)),), ({"x": rows}, {"y": answers}),
                 tuple(f"class {number}" for number in range(network.widths[-1])))  # fmt: skip


def publish(folder, name="toy", network=None, **options):
    """The next version of a model; returns its number."""
    network = network or Network(shift=len(models.versions(folder / name)) + 1)
    return models.publish(folder, name, lambda scratch: write_network(scratch, network, **options))[1]


def publish_sums(folder, name="sums"):
    """A model with two inputs, one of any length, and two outputs, of four types."""
    nodes = [
        helper.make_node("Cast", ["counts"], ["floats"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceSum", ["floats", "axis"], ["total"], keepdims=1),
        helper.make_node("Add", ["total", "bias"], ["sum"]),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
    ]
    tensors = [numpy_helper.from_array(np.array([1]), "axis"), numpy_helper.from_array(np.array(0.0), "zero")]
    kinds = {"counts": (TensorProto.INT32, "any"), "bias": (TensorProto.DOUBLE, 1), "sum": (TensorProto.DOUBLE, 1),
             "positive": (TensorProto.BOOL, 1)}  # fmt: skip
    values = {key: helper.make_tensor_value_info(key, kind, ["rows", size]) for key, (kind, size) in kinds.items()}
    graph = helper.make_graph(
        nodes, "sums", [values["counts"], values["bias"]], [values["sum"], values["positive"]], tensors
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    inputs = {"counts": np.array([[1, 2]], "int32"), "bias": np.array([[0.5]])}
    outputs = {"sum": np.array([[3.5]]), "positive": np.array([[True]])}
    specs = [TensorSpec("counts", "int32", (-1,)), TensorSpec("bias", "float64", (1,))]
    given = [TensorSpec("sum", "float64", (1,)), TensorSpec("positive", "bool", (1,))]
    return models.publish(folder, name, lambda scratch: write_bundle(
        scratch, model.SerializeToString(), tuple(specs), tuple(given), (inputs, outputs)))[1]  # fmt: skip


def publish_same(folder, dtype, size, name="same"):
    """A model that answers with its one input, `ids`."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["ids"], ["same"])], "same",
        *([helper.make_tensor_value_info(key, kind, ["rows", size])] for key in ("ids", "same")),
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    rows = np.arange(size, dtype=dtype)[None]
    return models.publish(folder, name, lambda scratch: write_bundle(
        scratch, model.SerializeToString(), (TensorSpec("ids", dtype, (size,)),), (TensorSpec("same", dtype, (size,)),),
        ({"ids": rows}, {"same": rows})))[1]  # fmt: skip
