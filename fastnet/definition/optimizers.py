"""Optimizers: their constants, formulas and sources. Backends compute the updates.

Letters: `p` the parameters, `g` their gradient, `lr` the learning rate of the step, `t` the
updates done with this memory, counted from 1. Memory is `slots` vectors as long as `p`, all
zero at first. Formulas and constants are PyTorch's where variants exist. Every parameter is
treated alike, biases too.

**Numbers that fade away.** Under a penalty or a decay, what the data do not hold up (the weights
of a dead unit, and their running means) shrinks by a factor at every step. It would end among the
subnormal numbers and stay there, because the smallest of them times 0.99 rounds to itself; and one
subnormal number in a product takes many processors a hundred times as long as the product. So in
every update, on every backend, with the bounds of `negligible`:

- parameters become 0 below one bound; velocities and running means of gradients, and the numbers
  of which Rprop and Lion take the sign, below a lower one;
- where a gradient is squared, it counts as at least the root of the lower bound in magnitude, so
  that no mean or sum of squares fades away. Beside `epsilon` that root is nothing (9e-16 in
  float32, 2e-139 in float64), and where `epsilon` is smaller still, it makes steps shorter and
  never longer.

The step sizes of Rprop have limits of their own. All this depends on the numbers of one update
only, so a run that is resumed goes on as before, and what is subnormal in an older checkpoint is
gone after the first update.
"""

from dataclasses import fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from fastnet.arrays import cache_lines, checks
from fastnet.arrays.checks import Array
from fastnet.definition.named import Named, registry
from fastnet.definition.schedules import Schedule, scheduled
from fastnet.definition.schedules import learning_rate as _learning_rate
from fastnet.errors import DefinitionError


class Negligible(NamedTuple):
    """Magnitudes below which an update makes numbers 0: see the module.

    Attributes:
        parameter: of the parameters.
        memory: of what the optimizer remembers of gradients. It is smaller, because a penalty's
            gradient is, by (1 - beta1) l2: with one bound for both, the mean would be 0 before the
            parameter is, which would then stay where it is.
        root: the least magnitude of a gradient that is squared.
    """

    parameter: float
    memory: float
    root: float


_NEGLIGIBLE = {
    4: Negligible(2.0**-80, 2.0**-100, 2.0**-50),
    8: Negligible(2.0**-900, 2.0**-920, 2.0**-460),
}


def negligible(dtype: Any) -> Negligible:
    """The bounds of a dtype, float32 or float64.

    They are so far above the smallest normal number (2^-126 and 2^-1022) that products with what is
    left are normal too: with a learning rate or 1 - beta down to 2^-26 for the memory, with an
    activation or a penalty down to 2^-46 for parameters.
    """
    return _NEGLIGIBLE[np.dtype(dtype).itemsize]


class Optimizer(Named):
    """A rule that updates the parameters by their gradient.

    `learning_rate` is a positive number or a schedule (`fn.Cosine(0.1)`). A constant out of its
    range is a `DefinitionError`.

    For the members of an `fn.Population`, any constant may be a list or an array with one value a
    member: `fn.SGD([0.1, 0.2])`. `each` then has one optimizer a member; it is empty otherwise.
    """

    #: Vectors of memory: running means and the like.
    vectors: ClassVar[int] = 0
    each: ClassVar[tuple[Any, ...]] = ()
    learning_rate: Any = 0.01

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__post_init__" in vars(cls):
            check = cls.__post_init__

            def check_each(self: Self) -> None:
                if not self._spread():
                    check(self)

            cls.__post_init__ = check_each  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if self._spread():
            return
        object.__setattr__(self, "learning_rate", _learning_rate(self.learning_rate))

    def _spread(self) -> bool:
        """Whether a constant has one value a member; then `each` has their optimizers, checked."""
        varying = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values = list(value) if isinstance(value, list | tuple) or np.ndim(value) else []
            pair = isinstance(field.default, tuple)  # by itself a constant of several numbers
            if values and (not pair or isinstance(values[0], list | tuple | np.ndarray)):
                varying[field.name] = values
        if not varying:
            return False
        lengths = {name: len(values) for name, values in varying.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            raise DefinitionError(f"{self.name}: {counts} values; give one a member.")
        common = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in varying}
        made = []
        for member, own in enumerate(zip(*varying.values(), strict=True)):
            try:
                made.append(type(self)(**common, **dict(zip(varying, own, strict=True))))
            except DefinitionError as error:
                raise DefinitionError(f"member {member}: {error}") from error
        for name in varying:  # as checked
            object.__setattr__(self, name, tuple(getattr(one, name) for one in made))
        object.__setattr__(self, "each", tuple(made))
        return True

    @property
    def slots(self) -> int:
        """How many vectors, each as long as the trained parameters, it remembers."""
        return self.vectors

    @property
    def decoupled_decay(self) -> float | Schedule:
        """The weight decay: before its step, p -= lr * weight_decay * p."""
        found: float | Schedule = getattr(self, "weight_decay", 0.0)
        return found

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """The kind of update and its constants; the learning rate and the decay are not among them.

        Both may be another number at every step, so a run has them.
        """
        own = (f.name for f in fields(self) if f.name not in ("learning_rate", "weight_decay"))
        return self.name, tuple(float(getattr(self, name)) for name in own)

    def memory(self, size: int, dtype: np.dtype[Any] | str) -> Array:
        """The memory that training starts with, `(slots, size)`."""
        zeros = cache_lines.zeros(self.slots * size, np.dtype(dtype))
        return zeros.reshape(self.slots, size)


class SGD(Optimizer):
    """v = momentum * v + g; p -= lr * v, or p -= lr * (g + momentum * v) with Nesterov.

    Sutskever et al. 2013 in PyTorch's form. Without momentum: p -= lr * g.

    Args:
        learning_rate: a positive number or a schedule.
        momentum: 0 to 1; 0: none.
        nesterov: whether to take Nesterov's form, which needs momentum.
    """

    name: ClassVar[str] = "sgd"
    kinds: ClassVar[tuple[str, ...]] = ("sgd", "momentum", "nesterov")
    learning_rate: Any = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number(self.momentum, "sgd momentum", least=0, most=1)
        checks.flag(self.nesterov, "sgd nesterov")
        if self.nesterov and self.momentum == 0:
            raise DefinitionError("sgd nesterov needs momentum > 0, such as momentum=0.9.")

    @property
    def slots(self) -> int:
        """One, or none without momentum."""
        return 1 if self.momentum else 0

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        if not self.momentum:
            return "sgd", ()
        return ("nesterov" if self.nesterov else "momentum"), (float(self.momentum),)


class Adam(Optimizer):
    """m and v: running means of g and g^2; p -= lr * m' / (sqrt(v') + epsilon).

    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t) (Kingma and Ba 2015, algorithm 1).

    Args:
        learning_rate: a positive number or a schedule.
        beta1: how much of m is kept at an update, 0 to less than 1.
        beta2: how much of v is kept, likewise.
        epsilon: keeps the quotient finite; above 0.
    """

    #: Whether epsilon is added to sqrt(v) instead, as in the form at the end of their section 2:
    #: in this one it is then epsilon / sqrt(1 - beta2^t).
    epsilon_before_correction: ClassVar[bool] = False
    name: ClassVar[str] = "adam"
    vectors: ClassVar[int] = 2
    learning_rate: Any = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number(self.beta1, f"{self.name} beta1", least=0, below=1)
        checks.number(self.beta2, f"{self.name} beta2", least=0, below=1)
        checks.number(self.epsilon, f"{self.name} epsilon", above=0)

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """Its constants, and 1 where epsilon is added before the correction of v, else 0."""
        own = float(self.beta1), float(self.beta2), float(self.epsilon)
        return "adam", (*own, float(self.epsilon_before_correction))


class AdamW(Adam):
    """First p -= lr * weight_decay * p, then Adam (Loshchilov and Hutter 2019, algorithm 2).

    Args:
        learning_rate: as for `Adam`, and so are `beta1`, `beta2` and `epsilon`.
        weight_decay: a number of at least 0, or a schedule.
    """

    name: ClassVar[str] = "adamw"
    kinds: ClassVar[tuple[str, ...]] = ("adam",)
    weight_decay: Any = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight_decay", scheduled(self.weight_decay, "adamw weight_decay"))


class RMSprop(Optimizer):
    """v = alpha * v + (1 - alpha) * g^2; step = g / (sqrt(v) + epsilon); p -= lr * step.

    With momentum: m = momentum * m + step; p -= lr * m (Tieleman and Hinton 2012, lecture
    6.5).

    Args:
        learning_rate: a positive number or a schedule.
        alpha: how much of v is kept at an update, 0 to less than 1.
        epsilon: keeps the quotient finite; above 0.
        momentum: 0 to less than 1; 0: none.
    """

    name: ClassVar[str] = "rmsprop"
    vectors: ClassVar[int] = 2
    learning_rate: Any = 0.01
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number(self.alpha, "rmsprop alpha", least=0, below=1)
        checks.number(self.epsilon, "rmsprop epsilon", above=0)
        checks.number(self.momentum, "rmsprop momentum", least=0, below=1)


class Adagrad(Optimizer):
    """s += g^2; p -= lr * g / (sqrt(s) + epsilon) (Duchi et al. 2011, section 1.1).

    Args:
        learning_rate: a positive number or a schedule.
        epsilon: keeps the quotient finite; above 0.
    """

    name: ClassVar[str] = "adagrad"
    vectors: ClassVar[int] = 1
    learning_rate: Any = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number(self.epsilon, "adagrad epsilon", above=0)


class Rprop(Optimizer):
    """Each parameter has a step size of its own, adapted by g's sign alone. For full batches.

    Where g keeps its sign, the step is multiplied with `etas[1]`, up to `step_sizes[1]`; where the
    sign changes, with `etas[0]`, down to `step_sizes[0]`, and g counts as 0; then
    p -= sign(g) * step (Riedmiller and Braun 1993; the variant iRprop- of Igel and Huesken 2000).

    Args:
        learning_rate: the first step size, a number.
        etas: the factors by which steps shrink (above 0 and less than 1) and grow (above 1).
        step_sizes: the smallest and the largest step.
    """

    name: ClassVar[str] = "rprop"
    vectors: ClassVar[int] = 2
    learning_rate: Any = 0.01
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.learning_rate, Schedule):
            raise DefinitionError(
                f"rprop adapts its own step sizes, so learning_rate must be a number, the first "
                f"one; it is the schedule {self.learning_rate!r}."
            )
        for name in ("etas", "step_sizes"):
            value = getattr(self, name)
            pair = checks.entries(value)
            if pair is None or len(pair) != 2:
                raise DefinitionError(f"rprop {name} is {value!r}; it must be a pair of numbers.")
            object.__setattr__(self, name, pair)
        checks.number(self.etas[0], "rprop etas[0]", above=0, below=1)
        checks.number(self.etas[1], "rprop etas[1]", above=1)
        checks.number(self.step_sizes[0], "rprop step_sizes[0]", above=0)
        checks.number(self.step_sizes[1], "rprop step_sizes[1]", least=self.step_sizes[0])

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """The factors of growing and shrinking steps, the smallest and the largest step."""
        (shrink, grow), (smallest, largest) = self.etas, self.step_sizes
        return "rprop", (float(grow), float(shrink), float(smallest), float(largest))

    def memory(self, size: int, dtype: np.dtype[Any] | str) -> Array:
        """The last gradient, zero, and the step sizes, all `learning_rate`."""
        memory = super().memory(size, dtype)
        memory[1] = self.learning_rate
        return memory


class Lion(Optimizer):
    """p -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p);
    m = beta2 * m + (1 - beta2) * g (Chen et al. 2023, algorithm 2).

    Args:
        learning_rate: a positive number or a schedule.
        beta1: the share of m in what gives the sign, 0 to less than 1.
        beta2: how much of m is kept at an update, 0 to less than 1.
        weight_decay: a number of at least 0, or a schedule.
    """

    name: ClassVar[str] = "lion"
    vectors: ClassVar[int] = 1
    learning_rate: Any = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number(self.beta1, "lion beta1", least=0, below=1)
        checks.number(self.beta2, "lion beta2", least=0, below=1)
        object.__setattr__(self, "weight_decay", scheduled(self.weight_decay, "lion weight_decay"))


class LBFGS(Named):
    """L-BFGS with a line search, by SciPy: for full batches and smooth losses.

    One epoch is one iteration (Liu and Nocedal 1989; Zhu et al. 1997 for the code). It has no
    learning rate. The loss and its gradient are computed in the model's dtype: rounding ends a
    float32 fit sooner than one with `dtype="float64"`, which many digits need.

    Args:
        history_size: how many gradients it remembers.
        tolerance_grad: it stops when no entry of the gradient is larger (SciPy's gtol).
        tolerance_change: it stops when an iteration lowers the loss by less than this fraction of
            the loss (SciPy's ftol).
        max_line_search: the maximum number of loss evaluations in an iteration.
        max_eval: the maximum number of loss evaluations in a fit.
    """

    name: ClassVar[str] = "lbfgs"
    history_size: int = 10
    tolerance_grad: float = 1e-5
    tolerance_change: float = 2.2e-9
    max_line_search: int = 20
    max_eval: int = 10**9

    def __post_init__(self) -> None:
        checks.integer(self.history_size, "lbfgs history_size")
        checks.number(self.tolerance_grad, "lbfgs tolerance_grad", least=0)
        checks.number(self.tolerance_change, "lbfgs tolerance_change", least=0)
        checks.integer(self.max_line_search, "lbfgs max_line_search")
        checks.integer(self.max_eval, "lbfgs max_eval")


OPTIMIZERS: dict[str, type[Optimizer] | type[LBFGS]] = registry(
    SGD, Adam, AdamW, RMSprop, Adagrad, Rprop, Lion, LBFGS
)
