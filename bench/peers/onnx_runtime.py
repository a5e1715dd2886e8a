"""ONNX Runtime, which predicts: `session.run` on the processor, with its default optimizations, of
the graph that `Model.to_onnx` writes (Gemm and Relu, layer by layer).
"""

import tempfile
from pathlib import Path

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.benchmark import Workload, prediction_inputs

IMPORT = "import onnxruntime"


class Predictor:
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            model(work, "numpy", None, "float32").to_onnx(file)
            self.session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        self.units = calls
        self.given = {self.session.get_inputs()[0].name: prediction_inputs(work, rows)}

    def reset(self) -> None:
        pass

    def run(self) -> None:
        run, given = self.session.run, self.given
        for _ in range(self.units):
            self.answer = run(None, given)

    def result(self) -> Array:
        return np.asarray(self.answer[0])
