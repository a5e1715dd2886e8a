"""Training by batches, as scikit-learn does it, in runs of epochs as long as nobody looks.

scikit-learn looks at the loss after every epoch. But it stops, or lowers the rate, only after
`n_iter_no_change` epochs in a row that were no better, so up to the first epoch at which that
can happen, epochs are asked of the backend in one run: nothing is done that would be undone.
"""

import math
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Run, State
from fastnet.definition.optimizers import SGD
from fastnet.definition.schedules import Schedule, plateau
from fastnet.model import Model
from fastnet.sklearn.errors import SolverDiverged
from fastnet.sklearn.objectives import Objective, square_sum
from fastnet.sklearn.rows import HeldOut
from fastnet.sklearn.stepping import Stepping
from fastnet.training.history import History
from fastnet.training.interrupts import DeferredInterrupt
from fastnet.training.trainer import ORDER_ENTRIES, RUN_SECONDS

#: scikit-learn's "adaptive" divides the rate by this, until it is as small as that.
ADAPTIVE_DIVISOR, ADAPTIVE_LEAST = 5.0, 1e-6


class Stochastic:
    """One `fit`, or one `partial_fit`, of an estimator whose attributes it keeps up to date.

    Args:
        estimator: whose `model_` is trained.
        objective: what is made small.
        data: the training rows, on the host.
        rows_per_step: of a batch.
        held_out: looked at after every epoch, or None.
        random_state: draws the orders of the rows.
        stepping: where the optimizer is.
    """

    def __init__(
        self,
        estimator: Any,
        objective: Objective,
        data: Data,
        rows_per_step: int,
        held_out: HeldOut | None,
        random_state: np.random.RandomState,
        stepping: Stepping,
    ) -> None:
        self.estimator = estimator
        self.model: Model = estimator.model_
        self.objective = objective
        self.rows, self.batch = len(data.x), rows_per_step
        self.batches = -(-self.rows // rows_per_step)
        self.weight = data.weight
        self.constant = objective.constant(data.y)
        self.held_out = held_out
        self.random_state = random_state
        self.stepping = stepping
        self.order = np.arange(self.rows)
        self.starts = np.arange(0, self.rows, rows_per_step)
        self.batch_rows = np.diff(np.append(self.starts, self.rows))
        self.budget = 1.0
        self.interrupts = DeferredInterrupt()
        self.history = self.model.history = History()
        self.program = self.model.program
        self.put, self.get = self.program.to_device, self.program.to_host
        self.data = self.program.upload(data)
        self.validation = None if held_out is None else self.program.upload(held_out.data)
        self.callbacks = checks.functions(estimator.callbacks, "callbacks")
        self.plateau = plateau(stepping.rule.learning_rate)
        self._begin()

    def _begin(self) -> None:
        """Make the backend's own copy of what is committed."""
        stepping = self.stepping
        flat = self.model.parameters.flat.copy()
        self.state = State(self.put(flat), self.put(stepping.memory.copy()), stepping.updates)

    def run(self, epochs: int) -> bool:
        """Train for so many epochs at most; say whether it came to an end by itself.

        Raises:
            SolverDiverged: if the loss or a weight stopped being finite.
        """
        self.estimator.n_iter_ = 0
        ended = False
        try:
            with self.interrupts:
                while not ended and self.estimator.n_iter_ < epochs:
                    ended = self._some(epochs - self.estimator.n_iter_)
                    if self.interrupts.seen:
                        break
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=6)
            ended = True
        return ended

    def _length(self, left: int) -> int:
        """For how many epochs nothing has to be looked at."""
        estimator = self.estimator
        if self.held_out is not None or self.callbacks or self.plateau is not None:
            return 1
        if self._inverse_scaling:
            return 1
        patience = estimator.n_iter_no_change + 1 - estimator._no_improvement_count
        most = max(min(self.budget // self.batches, ORDER_ENTRIES // self.rows), 1)
        return int(max(min(left, patience, most), 1))

    @property
    def _inverse_scaling(self) -> bool:
        estimator = self.estimator
        return bool(
            estimator.optimizer is None
            and estimator.solver == "sgd"
            and estimator.learning_rate == "invscaling"
        )

    def _some(self, left: int) -> bool:
        """Train some epochs and look at them; say whether that was all."""
        began = time.monotonic()
        epochs = self._length(left)
        orders = self._orders(epochs)
        losses, rates = self._steps(epochs, orders)
        whole = len(losses) // self.batches
        finite = bool(np.isfinite(losses).all()) and self._commit()
        if len(losses) and not finite:
            return self._diverged(losses)
        if not whole:
            return False
        if self.constant is not None:
            losses = losses + self._constants(orders)[: len(losses)]
        by_epoch = losses[: whole * self.batches].reshape(whole, self.batches)
        means = (by_epoch * self.batch_rows).sum(axis=1) / self.rows
        seconds = (time.monotonic() - began) / whole
        last = rates.reshape(epochs, self.batches)[:whole, -1]
        self.history.extend(self.stepping.epochs + 1, means, last.copy(), seconds)
        return any(self._epoch_done(loss) for loss in means.tolist())  # only the last may end it

    def _orders(self, epochs: int) -> Array:
        """The order of the rows in each epoch, `(epochs, rows)`, as `sklearn.utils.shuffle`."""
        orders = np.empty((epochs, self.rows), np.intp)
        for order in orders:
            if self.estimator.shuffle:
                drawn = np.arange(self.rows)
                self.random_state.shuffle(drawn)
                self.order = self.order[drawn]
            order[...] = self.order
        return orders

    def _by_batch(self, values: Array, orders: Array) -> Array:
        """The sums of one number a row over each batch, `(steps,)`."""
        ordered = values[orders].astype(np.float64)
        return np.add.reduceat(ordered, self.starts, axis=1).reshape(-1)

    def _masses(self, orders: Array) -> Array:
        """The rows, or their weights, of each batch, `(steps,)`."""
        if self.weight is None:
            return np.tile(self.batch_rows.astype(np.float64), len(orders))
        return self._by_batch(self.weight, orders)

    def _constants(self, orders: Array) -> Array:
        assert self.constant is not None
        weighted = self.constant if self.weight is None else self.constant * self.weight
        sums, masses = self._by_batch(weighted, orders), self._masses(orders)
        return np.divide(sums, masses, out=np.zeros_like(sums), where=masses > 0)

    def _rates(self, steps: int) -> Array:
        """fastnet's learning rate of each step, `(steps,)`."""
        stepping = self.stepping
        own = stepping.rule.learning_rate
        if stepping.learning_rate is not None:
            by = self.objective.gradient if isinstance(stepping.rule, SGD) else 1.0
            return np.full(steps, stepping.learning_rate * by)
        if not isinstance(own, Schedule):
            return np.full(steps, float(own))
        moments = stepping.epochs + np.arange(steps) / self.batches
        rates = own.rates(moments, float(self.estimator.max_iter))
        if self.plateau is not None:
            rates = np.maximum(rates * stepping.scale, np.minimum(rates, self.plateau.least))
        return rates

    def _steps(self, epochs: int, orders: Array) -> tuple[Array, Array]:
        """Do the steps of some epochs; all their losses as scikit-learn has them, and rates.

        Fewer losses come back if one is not finite, which is the last then, or after Ctrl-C.
        """
        steps = epochs * self.batches
        rates = self._rates(steps)
        l2 = self.objective.l2(float(self.estimator.alpha), self._masses(orders))
        told_apart = self.objective.apart and self.estimator.alpha > 0
        cuts = np.arange(1, steps) if told_apart else np.empty(0, np.intp)
        losses = np.empty(steps)
        at = 0
        for cut in [*cuts.tolist(), steps]:
            while at < cut:
                stop = min(at + int(self.budget), cut)
                penalty = self._penalty(l2[at]) if told_apart else 0.0
                found = self._train(orders, at, rates[at:stop], l2[at:stop])
                losses[at : at + len(found)] = self.objective.reported(found, penalty)
                at += len(found)
                if at < stop or not math.isfinite(found[-1]) or self.interrupts.seen:
                    return losses[:at], rates
        return losses, rates

    def _penalty(self, l2: float) -> float:
        """l2 / 2 * sum W^2, of the weights as they are before a step."""
        return l2 / 2 * square_sum(self.model, self.get(self.state.parameters))

    def _train(self, orders: Array, at: int, rates: Array, l2: Array) -> Array:
        """Steps, the first of which is number `at` of those that `orders` is for."""
        first, last = at // self.batches, (at + len(rates) - 1) // self.batches
        run = Run(
            first_step=self.stepping.epochs * self.batches + at,
            steps=len(rates),
            batch_size=self.batch,
            order=orders[first : last + 1] if self.estimator.shuffle and self.batches > 1 else None,
            optimizer=self.stepping.rule,
            learning_rate=rates,
            weight_decay=self.stepping.rule.decoupled_decay,
            l2=float(l2[0]) if (l2 == l2[0]).all() else l2,
            seed=self.model.seed,
        )
        began = time.monotonic()
        with self.interrupts.allow():
            losses: Array = self.program.train(self.state, self.data, run)
        fitting = len(losses) * RUN_SECONDS / max(time.monotonic() - began, 1e-9)
        self.budget = min(max(fitting, self.budget / 8, 1.0), self.budget * 8)
        return losses

    def _commit(self) -> bool:
        """Take over what the steps did, if it is all finite."""
        flat, memory = self.get(self.state.parameters), self.get(self.state.memory)
        if not (np.isfinite(flat).all() and np.isfinite(memory).all()):
            return False
        self.model.parameters.flat[...] = flat
        self.stepping.memory[...] = memory
        self.stepping.updates = self.state.updates
        return True

    def _epoch_done(self, loss: float) -> bool:
        """Take note of an epoch; say whether it was the last."""
        estimator, stepping = self.estimator, self.stepping
        stepping.epochs += 1
        estimator.n_iter_ += 1
        estimator.t_ += self.rows
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self.held_out is not None:
            self._validate()
        elif self.plateau is not None:
            self._look_for_plateau(loss)
        if not estimator.early_stopping:
            worse = loss > estimator.best_loss_ - estimator.tol
            estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        if self._inverse_scaling:
            rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            self._slow_down(rate)
        over = estimator._no_improvement_count > estimator.n_iter_no_change
        ended = over and self._give_up()
        return self._call_back() or ended

    def _validate(self) -> None:
        """Take the loss, and for early stopping the score, of the rows held out."""
        assert self.held_out is not None
        assert self.validation is not None
        estimator = self.estimator
        loss = self.objective.reported(self.program.loss(self.state.parameters, self.validation))
        loss += self.held_out.constant
        self.history.validation_loss.append(loss)
        estimator.validation_loss_curve_.append(loss)
        if self.plateau is not None:
            self._look_for_plateau(loss)
        if not estimator.early_stopping:
            return
        outputs = self.program.predict(self.state.parameters, self.validation.x)
        score = self.held_out.score(outputs)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        worse = score < estimator.best_validation_score_ + estimator.tol
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best = self.model.parameters.flat.copy()

    def _look_for_plateau(self, loss: float) -> None:
        stepping, rule = self.stepping, self.plateau
        assert rule is not None
        watch = stepping.watch
        if (
            not watch.improves(loss, rule.min_delta)
            and watch.epochs_without_improvement > rule.patience
        ):
            stepping.scale *= rule.factor
            watch.epochs_without_improvement = 0

    def _give_up(self) -> bool:
        """After too many epochs that were no better: stop, or go on more slowly."""
        estimator, stepping = self.estimator, self.stepping
        what = "Validation score" if estimator.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        rate = stepping.learning_rate
        if not adaptive or rate is None:
            end = " Stopping."
        elif rate <= ADAPTIVE_LEAST:
            end = " Learning rate too small. Stopping."
        else:
            self._slow_down(rate / ADAPTIVE_DIVISOR)
            end = f" Setting learning rate to {stepping.learning_rate:f}"
            estimator._no_improvement_count = 0
        if estimator.verbose:
            print(message + end)
        return end.endswith("Stopping.")

    def _slow_down(self, rate: float) -> None:
        self.stepping.slow_down(rate)
        self._begin()

    def _call_back(self) -> bool:
        if not self.callbacks:
            return False
        answers = []
        with self.interrupts.allow():
            for callback in self.callbacks:
                answers.append(callback(self.model, self.history))
        self._begin()
        return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)

    def _diverged(self, losses: Array) -> bool:
        """Where early stopping has something to go back to, end; else raise."""
        estimator = self.estimator
        step = self.stepping.epochs * self.batches + len(losses)
        where = f"the training stopped being finite in step {step}"
        if not estimator.early_stopping or not math.isfinite(estimator.best_validation_score_):
            raise SolverDiverged(where)
        estimator.n_iter_ += 1
        estimator.t_ += self.rows
        estimator.loss_ = float(losses[-1])
        estimator.loss_curve_.append(estimator.loss_)
        estimator.validation_scores_.append(math.nan)
        estimator.validation_loss_curve_.append(math.nan)
        warnings.warn(
            f"Stochastic Optimizer: {where}; the weights are those of the best validation score.",
            ConvergenceWarning,
            stacklevel=8,
        )
        return True
