"""ONNX Runtime, which predicts: `session.run` on the processor, with its default optimisations."""

import numpy as np

from fastnet.benchmark import Workload, predicted
from fastnet.checks import Array

IMPORT = "import onnxruntime"


class Predictor:
    """Predictions, for a network with ReLU in its hidden layers."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        import onnxruntime

        self.units, self.given = calls, {"x": predicted(work, rows)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            _graph(work.start()), options, providers=["CPUExecutionProvider"]
        )

    def begin(self) -> None:
        pass

    def go(self) -> None:
        run, given = self.session.run, self.given
        for _ in range(self.units):
            self.answer = run(None, given)

    def result(self) -> Array:
        return np.asarray(self.answer[0])


def _graph(layers: list[tuple[Array, Array]]) -> bytes:
    """The network as an ONNX file holds it."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, came = [], [], "x"
    for i, (w, b) in enumerate(layers):
        arrays += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [came, f"w{i}", f"b{i}"], [f"z{i}"]))
        came = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [came], [f"a{i}"]))
            came = f"a{i}"
    ends = [("x", layers[0][0].shape[0]), (came, layers[-1][0].shape[1])]
    x, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", c]) for n, c in ends)
    graph = helper.make_graph(nodes, "network", [x], [out], arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())
