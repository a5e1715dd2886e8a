"""Derivatives of a network: by its inputs, and of its loss by its parameters, once and twice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.arrays.targets import few_fit
from fastnet.contract.choosing import choose
from fastnet.contract.program import Inputs, Program
from fastnet.definition.network import Network
from fastnet.errors import DataError, DefinitionError
from fastnet.records import Record
from fastnet.training.rows import check_encoded, checked_rows
from fastnet.training.settings import MOST_ROWS

#: Rows whose derivatives are computed together: what is kept of all layers stays small.
BLOCK_ROWS = 8192


class Derivatives(Record):
    """Those of a network with its parameters; `Differentiable` documents the methods.

    Attributes:
        network: the definition.
        program: the same, compiled.
        backend: whose program that is.
        flat: the parameters, on the host.
    """

    network: Network
    program: Program
    backend: str
    flat: Array

    def input_gradient(self, x: Any, output: Any, of: str, y: Any) -> Array:
        """The derivative of one output, or of each row's loss, by the input numbers."""
        if of == "loss":
            if y is None or output is not None:
                raise DefinitionError("of='loss' is of each row's own loss: give y, and no output.")
            data = checked_rows(self.network, self.program.dtype, x, y, None)
            program, y = self._program("logit"), data.y
            parameters = program.to_device(self.flat)

            def slopes(rows: slice, numbers: Inputs) -> Array:
                return program.loss_slopes(program.predict(parameters, numbers), y[rows])

            return self._by_blocks(program, data.x.numbers, slopes)
        if y is not None:
            raise DefinitionError("y is for of='loss'; no output depends on it.")
        program, chosen = self._program(of), self._column(output)

        return self._of_output(program, self._rows(x), chosen)

    def jacobian(self, x: Any, of: str) -> Array:
        """The derivatives of all outputs by all input numbers, `(rows, outputs, numbers)`."""
        if of == "loss":
            raise DefinitionError(
                "of='loss' is one number for each row, which has a gradient and no Jacobian; use "
                "input_gradient(x, of='loss', y=y)."
            )
        program, outputs, x = self._program(of), self.network.outputs, self._rows(x)
        numbers = self.network.both_inputs.numbers
        found = np.empty((len(x), outputs, numbers), x.dtype)
        for output in range(outputs):
            found[:, output] = self._of_output(program, x, output)
        return found

    def hessian_vector_product(
        self, x: Any, y: Any, vector: Any, sample_weight: Any, l2: Any
    ) -> Array:
        """The Hessian of the loss by the parameters, times `vector`."""
        data = checked_rows(self.network, self.program.dtype, x, y, sample_weight)
        l2 = checks.number(l2, "l2", least=0)
        v = checks.numbers(vector, "vector", self.flat.dtype)
        if v.shape != self.flat.shape:
            raise DataError(
                f"vector has shape {v.shape}; it must be {self.flat.shape}, as parameters.flat."
            )
        checks.finite(v, "vector", remedy="give finite numbers")
        v = v.copy()
        v[self.program.plan.trained :] = 0
        found = self.program.hessian_vector(self.program.to_device(self.flat), data, v)
        for piece in self.program.plan.weights:
            piece.of(found)[...] += l2 * piece.of(v)
        return found

    def _rows(self, x: Any) -> Array:
        return self.network.features(x, self.program.dtype, allow_nan=True)

    def _program(self, of: str) -> Program:
        """What predicts that of which derivatives are wanted."""
        if of not in ("prediction", "logit"):
            raise DefinitionError(
                f"of is {of!r}; it must be 'prediction' or 'logit', or, for input_gradient, 'loss'."
            )
        plan = self.program.plan
        if of == "prediction" or plan.loss_source == plan.prediction:
            return self.program
        logits = replace(plan, prediction=plan.loss_source)
        return choose(self.backend).compile(logits, self.program.dtype, None, None)

    def _column(self, output: Any) -> int:
        outputs = self.network.outputs
        if output is None and outputs > 1:
            raise DefinitionError(
                f"the network has {outputs} outputs; choose one with output=..., or use jacobian."
            )
        found = 0 if output is None else checks.integer(output, "output", least=0)
        if found >= outputs:
            raise DefinitionError(f"output is {found}; the network has {outputs}, from 0 on.")
        return found

    def _of_output(self, program: Program, x: Array, output: int) -> Array:
        """The derivative of one column of what is predicted, by the inputs."""

        def slopes(rows: slice, numbers: Inputs) -> Array:
            d = np.zeros((len(numbers), self.network.outputs), program.dtype)
            d[:, output] = 1
            return d

        return self._by_blocks(program, x, slopes)

    def _by_blocks(
        self, program: Program, x: Array, slopes: Callable[[slice, Inputs], Array]
    ) -> Array:
        """The derivatives by the inputs, block by block.

        Args:
            program: what predicts.
            x: `(rows, inputs)`.
            slopes: gives the derivatives by what is predicted, of some rows: which, and themselves.
        """
        columns = self.network.both_inputs.numbers  # codes of categories have no derivative
        found = np.empty((len(x), columns), x.dtype)
        parameters = program.to_device(self.flat)
        for start in range(0, len(x), BLOCK_ROWS):
            here = slice(start, start + BLOCK_ROWS)
            numbers = Inputs(program.to_device(x[here]))
            d = slopes(here, numbers)
            found[here] = program.input_gradient(parameters, numbers, d)[:, :columns]
        return found


class Differentiable:
    """What a `Model` has of derivatives."""

    network: Network
    backend: str
    seed: int
    table: dict[str, Any] | None
    _program: Program
    _flat: Array
    _kind: str | None

    def loss_and_gradient(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout_step: int | None = None,
        encoded: bool = False,
    ) -> tuple[float, Array]:
        """Compute the loss over all rows as one batch, and its gradient by the parameters.

        Args:
            x: `(rows, inputs)`.
            y: `(rows,)` or `(rows, outputs)`; classes as indices or one-hot.
            sample_weight: `(rows,)`, or None.
            l1: adds l1 * sum |w| over the weights, not the biases.
            l2: adds l2 / 2 * sum w^2 likewise.
            dropout_step: as in the training step with this number: with its dropout masks, and
                batches normalized by their own statistics; None: as in a prediction.
            encoded: as for `predict`.

        Returns:
            The loss, and the gradient `(size,)`, laid out like `parameters.flat`.

        Raises:
            DataError: if the arrays do not fit.
            DefinitionError: for a negative penalty, or a `dropout_step` that no fit reaches.
        """
        check_encoded(self.table, encoded, "loss_and_gradient")
        penalties = (checks.number(l1, "l1", least=0), checks.number(l2, "l2", least=0))
        plain = sample_weight is None and dropout_step is None and penalties == (0.0, 0.0)
        if plain and few_fit(y, self._kind, self.network.outputs):
            found = self._program.gradient_at_once(self._flat, x, y)
            if found is not None:
                return found
        draw = None
        if dropout_step is not None:
            step = checks.integer(dropout_step, "dropout_step", least=0)
            if step >= MOST_ROWS:  # no fit takes more
                raise DefinitionError(f"dropout_step is {step}; it must be less than {MOST_ROWS}.")
            draw = self.seed, step
        rows = checked_rows(self.network, self._program.dtype, x, y, sample_weight)
        if plain:
            found = self._program.gradient_at_once(self._flat, rows.x.numbers, rows.y)
            if found is not None:
                return found
        parameters = self._program.parameters_to_device(self._flat)
        return self._program.gradient(parameters, self._program.upload(rows), *penalties, draw)

    def input_gradient(
        self,
        x: Any,
        output: int | None = None,
        *,
        of: Literal["prediction", "logit", "loss"] = "prediction",
        y: Any = None,
        encoded: bool = False,
    ) -> Array:
        """Compute the derivative of an output by the inputs, for each row.

        Args:
            x: `(rows, inputs)`.
            output: which; may be left out where the network has one.
            of: "prediction": what `predict` gives; "logit": that before the output's activation,
                where the loss is computed from it, as cross-entropies are; "loss": each row's own
                loss, for its target `y`.
            y: the targets, for the loss: as for `fit`.
            encoded: as for `predict`.

        Returns:
            `(rows, inputs)` of the model's dtype; where x has categories too, `(rows, n)` by its
            numbers, since codes have no derivative.

        Raises:
            DefinitionError: if `output` or `of` does not fit the network.
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "input_gradient")
        return self._derivatives().input_gradient(x, output, of, y)

    def jacobian(
        self, x: Any, *, of: Literal["prediction", "logit"] = "prediction", encoded: bool = False
    ) -> Array:
        """Compute the derivatives of all outputs by all inputs, for each row.

        Args:
            x: `(rows, inputs)`.
            of: "prediction" or "logit", as for `input_gradient`.
            encoded: as for `predict`.

        Returns:
            `(rows, outputs, inputs)` of the model's dtype; inputs as for `input_gradient`.

        Raises:
            DefinitionError: if `of` is neither of these.
            DataError: if the array does not fit.
        """
        check_encoded(self.table, encoded, "jacobian")
        return self._derivatives().jacobian(x, of)

    def hessian_vector_product(
        self,
        x: Any,
        y: Any,
        vector: Any,
        sample_weight: Any = None,
        *,
        l2: float = 0.0,
        encoded: bool = False,
    ) -> Array:
        """Multiply the Hessian of the loss over all rows, by the parameters, with a vector.

        It is the derivative of the gradient along the vector, computed by formulas, not by
        differences; the Hessian itself is never made.

        Args:
            x: `(rows, inputs)`.
            y: as for `loss_and_gradient`, and so are `sample_weight`, `l2` and `encoded`.
            vector: `(size,)`, laid out like `parameters.flat`.
            sample_weight: `(rows,)`, or None.
            l2: adds l2 / 2 * sum w^2 to the loss.
            encoded: as for `predict`.

        Returns:
            `(size,)` of the model's dtype.

        Raises:
            DefinitionError: if an activation or the loss has no second derivative everywhere, as
                relu and "mae" do not; it names it.
            BackendUnavailable: for a layer whose second derivative is not here, by its name.
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "hessian_vector_product")
        return self._derivatives().hessian_vector_product(x, y, vector, sample_weight, l2)

    def _derivatives(self) -> Derivatives:
        return Derivatives(self.network, self._program, self.backend, self._flat)
