"""The one table of kinds: what operations, activations, losses and optimizers are called, in order.

A kind's code is its place in its table. Backends that compile take codes from here by name, CUDA
through a header that is generated from here. Names come from fastnet's own definitions, so that
whatever is added there has its place here; one that is added from outside at run time has none.
What is another kind with other constants (SELU is ELU, AdamW is Adam with decay) is not listed.
"""

from collections.abc import Mapping

from fastnet.contract import plan
from fastnet.definition.activations import ACTIVATIONS as _ACTIVATIONS
from fastnet.definition.losses import LOSSES as _LOSSES
from fastnet.definition.named import Named
from fastnet.definition.optimizers import OPTIMIZERS as _OPTIMIZERS
from fastnet.definition.optimizers import Optimizer


def _kinds(cls: type[Named]) -> tuple[str, ...]:
    return (cls.name,) if cls.kinds is None else cls.kinds


def _codes(classes: Mapping[str, type[Named]]) -> dict[str, int]:
    """The kinds of these definitions, each once, with their codes."""
    kinds = [kind for cls in classes.values() for kind in _kinds(cls)]
    return {kind: code for code, kind in enumerate(dict.fromkeys(kinds))}


_OPERATIONS = (
    plan.Affine, plan.Elementwise, plan.Softmax, plan.Dropout, plan.Normalize, plan.Scale, plan.Add,
    plan.Parametric, plan.BatchNormalize, plan.Embed, plan.Periodic, plan.PiecewiseLinear,
)  # fmt: skip

#: Operations of a plan: the records in `fastnet.contract.plan`.
OPERATIONS = {cls.__name__.lower(): code for code, cls in enumerate(_OPERATIONS)}

#: Functions of one number. Softmax is an operation. Identity is left out of plans; its code is for
#: kernels that fuse a product with an activation, where there is none.
ACTIVATIONS = _codes({n: c for n, c in _ACTIVATIONS.items() if n != "softmax"})

LOSSES = _codes(_LOSSES)

#: Updates of the parameters. L-BFGS is none: it asks for losses and gradients.
OPTIMIZERS = _codes({n: c for n, c in _OPTIMIZERS.items() if issubclass(c, Optimizer)})

#: All tables, by what their kinds are kinds of.
TABLES = {
    "operation": OPERATIONS,
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
}


def kinds_of(lowered: plan.Plan) -> list[tuple[str, str]]:
    """The kinds that a plan needs, as pairs of a table's name and a kind."""
    found = [("operation", type(op).__name__.lower()) for op in lowered.operations]
    found += [
        ("activation", op.kind)
        for op in lowered.operations
        if isinstance(op, plan.Elementwise | plan.Parametric)
    ]
    found.append(("loss", lowered.loss.kind))
    return list(dict.fromkeys(found))
