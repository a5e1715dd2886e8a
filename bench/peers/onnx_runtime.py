"""ONNX Runtime, for predictions only: `session.run` on the CPU, with default optimizations, of the
graph that `Model.to_onnx` writes (Gemm and Relu, layer by layer).
"""

import tempfile
from pathlib import Path

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.benchmark import Workload, new_model, prediction_inputs

IMPORT = "import onnxruntime"


class Predictor:
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            new_model(work, "numpy", None, work.dtype).to_onnx(file)
            self.session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        self.units = calls
        self.inputs = {self.session.get_inputs()[0].name: prediction_inputs(work, rows)}

    def reset(self) -> None:
        pass

    def run(self) -> None:
        run, inputs = self.session.run, self.inputs
        for _ in range(self.units):
            self.output = run(None, inputs)

    def result(self) -> Array:
        return np.asarray(self.output[0])
