"""A model: a network, its parameters, and a program of one backend that runs it."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from fastnet import html, random
from fastnet.arguments import explained
from fastnet.arrays import cache_lines, checks, dlpack, pairs
from fastnet.arrays.checks import Array
from fastnet.arrays.stored import is_stored
from fastnet.arrays.targets import few_fit
from fastnet.attributes import Compiled, checked
from fastnet.contract import choosing, starting
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Program
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, Optimizer
from fastnet.definition.schedules import Schedule
from fastnet.derivatives import Differentiable
from fastnet.errors import DataError, DefinitionError
from fastnet.fitting import Fits
from fastnet.parameters import Parameters
from fastnet.training import stored_rows
from fastnet.training.blocks import BlockShuffle
from fastnet.training.fit_state import LastFit
from fastnet.training.history import History
from fastnet.training.rows import check_encoded
from fastnet.training.settings import EarlyStopping

if TYPE_CHECKING:
    from pathlib import Path

    from fastnet.training.checkpoints import Checkpoint
    from fastnet.training.progress import Bar


class Model(Compiled, Differentiable):
    """A trainable network: its definition, its parameters, and a backend that runs it.

    Where methods take `x` `(rows, inputs)`, a network of numbers and categories takes a pair
    `(numbers, categories)`, `(rows, n)` and codes `(rows, c)`, or one array of both in this order.

    Args:
        network: the definition.
        backend: "numpy", "numba", "cupy", "array_api:torch" or another backend's name; None: that
            of `fn.using` or of the environment variable `FASTNET_BACKEND`, else the fastest that
            runs here.
        dtype: of parameters and arithmetic, "float32" or "float64".
        seed: of initial weights, shuffles, dropout and the validation split, which are the same on
            all backends; None: a random one, which `model.seed` then holds.
        threads: how many to use; None: `FASTNET_NUM_THREADS`, else the backend chooses.
        precision: of matrix products, below float32: "tf32", "bf16" or "fp16", on backends that
            have tensor cores; None: the dtype's own. Parameters, sums and updates stay float32.
            Like the backend, it is not part of a saved model.
        init_rows: `(rows, inputs)`: what layers with `init="data"` start from, the rows to train on
            or some of them; it looks at 1,024, chosen by the seed.

    Attributes:
        network, dtype, precision, seed: as given; another seed may be assigned.
        backend: the name of the backend that runs it.
        history: of the last fit, even if it was interrupted; None before the first.
        table: how the columns of a table become inputs and outputs, for models that
            `fastnet.tables` made; None for others.

    Raises:
        DefinitionError: if the dtype, seed, precision or number of threads is invalid.
        BackendUnavailable: if the backend is unknown, cannot run here, or lacks the precision.
    """

    seed: int = checked("seed", lambda _, seed: checks.seed(seed))

    @explained("fn.Model")
    def __init__(
        self,
        network: Network,
        *,
        backend: str | None = None,
        dtype: Any = "float32",
        seed: int | None = None,
        threads: int | None = None,
        precision: str | None = None,
        init_rows: Any = None,
    ) -> None:
        dtype, lowered, rows = starting.checked(network, dtype, init_rows)
        seed = random.fresh_seed() if seed is None else checks.seed(seed)
        try:
            flat = starting.parameters_from_rows(network, lowered, seed, rows)
        except (MemoryError, ValueError) as error:  # NumPy's, for what no machine could hold
            raise DefinitionError(
                f"the network has {lowered.size:,} parameters, more than this machine can hold "
                f"({error})."
            ) from error
        with np.errstate(over="ignore"):
            flat = cache_lines.copy(flat.astype(dtype))
        self._set_up(network, flat, dtype, seed, backend, threads, precision)
        self.parameters.check()

    @classmethod
    def of(
        cls,
        network: Network,
        parameters: Mapping[str, Any],
        *,
        backend: str | None = None,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> "Model":
        """Make a model with given parameters instead of initial ones.

        Args:
            network: the definition.
            parameters: all arrays by name, as `Model.parameters` has them: "0.weight"
                `(inputs, units)`, "0.bias" `(units,)`, ...
            backend: as for `Model`.
            dtype: as for `Model`.
            seed: as for `Model`.

        Raises:
            DataError: if a parameter is missing, has another shape or is not finite.
        """
        dtype = checks.dtype(dtype).name
        lowered = lower(network)
        flat = cache_lines.zeros(lowered.size, np.dtype(dtype))
        pieces = Parameters(lowered.parameters, flat)
        if set(parameters) != set(pieces):
            raise DataError(f"parameters are {sorted(parameters)}; they must be {sorted(pieces)}.")
        for name, array in parameters.items():
            pieces[name] = array
        seed = random.fresh_seed() if seed is None else checks.seed(seed)
        model = cls.__new__(cls)
        model._set_up(network, flat, dtype, seed, backend)
        return model

    def _set_up(
        self,
        network: Network,
        flat: Array,
        dtype: str,
        seed: int,
        backend: str | None,
        threads: int | None = None,
        precision: str | None = None,
        table: dict[str, Any] | None = None,
        history: History | None = None,
        last: LastFit | None = None,
        program: Program | None = None,
    ) -> None:
        """The one way to make a model: of checked values, by `__init__`, `load` and unpickling."""
        # `flat` is not copied: a member's is its population's. Others begin at a cache line, from
        # where products of few rows read them faster.
        self._network, self._dtype, self._precision, self._seed = network, dtype, precision, seed
        self.table, self.history = table, history
        self._threads = threads
        self._plan = lower(network)
        self._parameters = Parameters(self._plan.parameters, flat)
        chosen = choosing.choose(backend)
        self._backend = chosen.name
        self._program = program or choosing.compiled(chosen, self._plan, dtype, threads, precision)
        # For a row alone, even to look these up takes a tenth of the time.
        self._predict_at_once: Callable[..., Any] = self._program.predict_at_once
        #: The kind of targets with which the backend may look at rows itself, or None.
        self._kind = network.loss.targets if network.targets == network.outputs else None
        if network.categories:  # whose codes have to be looked at
            self._kind, columns = None, network.both_inputs.numbers
            self._predict_at_once = pairs.accepted_by(self._predict_at_once, columns, dtype)
        self._flat, self._fits = flat, Fits(last)

    @property
    def parameters(self) -> Parameters:
        """By name: "0.weight" `(inputs, units)`, "0.bias" `(units,)`, ...; `.flat` is all."""
        return self._parameters

    @property
    def program(self) -> Program:
        """The compiled network, for training loops of your own: `fastnet.contract.program`."""
        return self._program

    @overload
    def predict(self, x: Array, *, encoded: bool = ...) -> Array: ...
    @overload
    def predict(self, x: Any, *, encoded: bool = ...) -> Any: ...
    def predict(self, x: Any, *, encoded: bool = False) -> Any:
        """Predict outputs for `x`.

        Args:
            x: `(rows, inputs)`, any real dtype; a row with NaN gives NaN in its row. An array that
                stays in a file, such as `np.memmap`, is read block by block. For an array
                of another library (CuPy, PyTorch, JAX, by DLPack) the result is an array of that
                library, a tensor without gradient; on a GPU, if `x` and the backend are there.
            encoded: that `x` is what the network takes. A model trained from a table refuses `x`
                without it: its inputs are not the table's columns, which
                `fastnet.tables.predict(model, table)` takes, but are encoded and standardized.

        Returns:
            `(rows, outputs)` of the model's dtype, a NumPy array, or an array like `x`: values,
            probabilities (sigmoid, softmax) or logarithms of rates (Poisson).

        Raises:
            DataError: if `x` has no rows, the wrong number of columns, or is not numeric; if the
                model was trained from a table and `x` is not `encoded`.
        """
        check_encoded(self.table, encoded, "predict")
        if (found := self._predict_at_once(self._flat, x)) is not None:
            return found
        if dlpack.on_gpu(x):
            found = self._predict_at_once(self._flat, dlpack.as_rows(x, self.dtype))
            if found is not None:
                return dlpack.like(found, x)
        if is_stored(x):
            return stored_rows.predict_stored(self.network, self._program, self._on_device(), x)
        rows = self.network.features(x, np.dtype(self.dtype), allow_nan=True)
        found = self._program.predict_at_once(self._flat, rows)
        if found is None:
            found = self._program.predict(self._on_device(), Inputs(self._program.to_device(rows)))
        return dlpack.like(found, x)

    def _on_device(self) -> Any:
        return self._program.parameters_to_device(self._parameters.flat)

    def evaluate(
        self, x: Any, y: Any, sample_weight: Any = None, *, encoded: bool = False
    ) -> float:
        """Compute the loss over all rows, without dropout and penalties.

        Args:
            x: `(rows, inputs)`.
            y: `(rows,)` or `(rows, outputs)`; classes as indices or one-hot.
            sample_weight: `(rows,)`, or None.
            encoded: as for `predict`.

        Raises:
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "evaluate")
        if sample_weight is None and few_fit(y, self._kind, self.network.outputs):
            found = self._program.loss_at_once(self._flat, x, y)
            if found is not None:
                return found
        given = x, y, sample_weight, True, self._program
        data = stored_rows.rows_of(self.network, np.dtype(self.dtype), *given)
        if isinstance(data, Data):
            if data.weight is None:
                found = self._program.loss_at_once(self._flat, data.x.numbers, data.y)
                if found is not None:
                    return found
            data = self._program.upload(data)
        return stored_rows.loss(self._program, self._on_device(), data)

    @explained("fit")
    def fit(
        self,
        x: Any,
        y: Any,
        *,
        optimizer: str | Optimizer | LBFGS | Mapping[str, Any] = "adam",
        epochs: int = 100,
        batch_size: int | Literal["auto"] | None = "auto",
        shuffle: bool | BlockShuffle = True,
        sample_weight: Any = None,
        class_weight: str | Mapping[int, float] | None = None,
        validation: float | tuple[Any, ...] | None = None,
        early_stopping: int | EarlyStopping | None = None,
        metrics: Iterable[str | Callable[[Array, Array], float]] = (),
        callbacks: Iterable[Callable[["Model", History], Any]] = (),
        progress: "bool | Bar" = False,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        dropout_factor: float | Schedule | Mapping[str, Any] = 1.0,
        initial_epoch: int = 0,
        checkpoint: "str | os.PathLike[str] | Checkpoint | None" = None,
        resume: bool = False,
        encoded: bool = False,
        communicator: Any = None,
    ) -> History:
        """Train.

        Args:
            x: `(rows, inputs)`. An array that stays in a file and is read by slices, such as
                `np.memmap`, an HDF5 dataset or a Zarr array, may be larger than memory. Rows on
                the GPU that the backend computes on stay there, if `y` is there too; with weights,
                metrics, a fraction to validate on or a checkpoint they go by way of the host.
            y: `(rows,)` or `(rows, outputs)`; classes as indices or one-hot; likewise.
            optimizer: a name ("sgd") or an instance (`fn.SGD(0.1, momentum=0.9)`).
            epochs: passes over all rows, counted from the beginning of the training.
            batch_size: rows per step; None: all. "auto" is 32, and all for L-BFGS. The last batch
                of an epoch holds the rows that are left over.
            shuffle: use another order of the rows in every epoch; `fn.BlockShuffle` (the default
                for arrays in files that are larger than its buffer) mixes blocks of rows.
            sample_weight: `(rows,)`; a batch's loss is its weighted mean.
            class_weight: a weight for each class by its index, which multiplies the weights of its
                rows, or "balanced": in inverse proportion to its rows. It counts in the losses of
                training and validation rows, not in `metrics`.
            validation: `(x, y)` or `(x, y, sample_weight)`, or the fraction of rows, chosen at
                random, that is held out for validation. Their loss is computed every epoch.
            early_stopping: after so many epochs in a row without a better validation loss the fit
                stops and goes back to the best parameters; or an `EarlyStopping`.
            metrics: of the validation rows after every epoch, for `History.metrics`: "accuracy",
                "r2", "rmse", "mae", or functions of y and the predictions `(rows, outputs)`.
            callbacks: each is called as `callback(model, history)` after every epoch; one that
                returns True ends the fit. They may change the parameters (except with L-BFGS,
                which continues from its own).
            progress: show a bar on standard error, if that is a terminal; or the
                `fastnet.training.progress.Bar` to show.
            l1: adds l1 * sum |w| over the weights, not the biases, to the loss.
            l2: adds l2 / 2 * sum w^2 likewise.
            clip_norm: the largest Euclidean norm of a gradient; a longer one is scaled down.
            clip_value: the largest absolute value of a gradient's entry; applied before
                `clip_norm`.
            dropout_factor: multiplies the rate of every `Dropout` layer: a number, or a schedule
                such as `fn.FlatCosine(1.0)`.
            initial_epoch: epochs done before. The optimizer then continues with the memory of the
                model's last fit, and `ReduceOnPlateau` with its rate, so that 10 epochs and then
                20 with `initial_epoch=10` are the same as 20 (for schedules that do not span the
                whole fit). With 0, a second fit of a model begins with an empty memory and the
                schedule's first rate, from the parameters as they are; its shuffles and dropout
                masks are others than those of the first.
            checkpoint: a path, or a `Checkpoint` that also sets how often to write.
            resume: continue from the checkpoint, if it exists. Without it, an existing checkpoint
                is an error, so that none is lost.
            encoded: as for `predict`.
            communicator: `fn.world()`, another communicator of mpi4py, or an `fn.Distributed`: its
                processes train this model together, each on rows of its own in `x`, `y` and
                `validation`. `batch_size` and all losses are over the rows of all. They begin
                with the seed and the parameters of rank 0, and end with the same parameters and
                history. Callbacks are called on every rank; rank 0 shows progress and writes.

        Returns:
            The history, also kept as `model.history`.

        Raises:
            DefinitionError: if a setting is invalid, or two do not fit together.
            DataError: if rows, targets or weights are invalid.
            Diverged: if the loss stops being finite. The model keeps its last finite parameters.
            KeyboardInterrupt: after Ctrl-C. The model is as after its last whole step.
            ModelFileError: if a checkpoint belongs to another fit, or cannot be written when the
                fit begins or is interrupted. At other times that is a warning, and the fit goes on.
        """
        check_encoded(self.table, encoded, "fit")
        return self._fits.fit(
            self,
            x,
            y,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation=validation,
            metrics=metrics,
            callbacks=callbacks,
            progress=progress,
            initial_epoch=initial_epoch,
            checkpoint=checkpoint,
            resume=resume,
            communicator=communicator,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            l1=l1,
            l2=l2,
            clip_norm=clip_norm,
            clip_value=clip_value,
            early_stopping=early_stopping,
            dropout_factor=dropout_factor,
        )

    def save(self, path: str | os.PathLike[str]) -> "Path":
        """Write network, parameters, dtype and seed to a safetensors file, whole or not at all.

        Raises:
            FileAccessError: if it cannot be written.
        """
        from fastnet import model_files

        facts = self.network, self._parameters.flat, self.dtype, self.seed, self.table
        return model_files.write(path, model_files.Saved(*facts))

    def to_onnx(self, path: str | os.PathLike[str], *, encoded: bool = False) -> None:
        """Write a standard ONNX graph: see `fastnet.interchange.exporting.to_onnx`."""
        from fastnet.interchange.exporting import to_onnx

        to_onnx(self, path, encoded=encoded)

    def to_torch(self) -> Any:
        """Make a `torch.nn.Sequential`: see `fastnet.interchange.exporting.to_torch`."""
        from fastnet.interchange.exporting import to_torch

        return to_torch(self)

    def summary(self) -> None:
        """Print the layers, with the shapes of their outputs and their parameters."""
        print(f"{self!r}\n\n{self.network}")

    def _repr_html_(self) -> str:
        return html.paragraph(repr(self)) + self.network._repr_html_()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: everything but the program, which is made anew."""
        return {
            "network": self.network,
            "flat": self._parameters.flat,
            "dtype": self.dtype,
            "seed": self.seed,
            "backend": self.backend,
            "threads": self._threads,
            "precision": self.precision,
            "table": self.table,
            "history": self.history,
            "last": self._fits.last,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A shallow copy hands over the same array, and is a model of its own all the same.
        self._set_up(**{**state, "flat": cache_lines.copy(state["flat"])})

    def __repr__(self) -> str:
        return (
            f"Model({self.network.inputs} -> {self.network.outputs}, {self._plan.size:,} "
            f"parameters, backend={self.backend!r}, dtype={self.dtype!r}, seed={self.seed}"
            f"{'' if self.table is None else ', of a table: see fastnet.tables.predict'})"
        )


def load(
    path: str | os.PathLike[str], *, backend: str | None = None, precision: str | None = None
) -> Model:
    """Read a model that `Model.save` or `fastnet train` wrote.

    One that was trained from a table takes the table's own columns through
    `fastnet.tables.predict(model, table)`.

    Args:
        path: the file.
        backend: as for `Model`.
        precision: as for `Model`.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign or of a newer version.
        ModelFileMissing: if there is none.
        BackendUnavailable: if the backend cannot run here.
    """
    from fastnet import model_files

    saved = model_files.read(path)
    flat, dtype = cache_lines.copy(saved.flat), saved.dtype
    model = Model.__new__(Model)
    model._set_up(saved.network, flat, dtype, saved.seed, backend, None, precision, saved.table)
    return model
