"""A backend does what the contract's table of kinds names, or refuses it by its name."""

from dataclasses import replace

import numpy as np
import pytest
from samples import EVERYWHERE, PAIRS, rows_for
from test_trajectory import OPTIMIZERS as TRAJECTORIES

import fastnet as fn
from fastnet.contract import kinds, loading
from fastnet.contract.lowering import lower
from fastnet.contract.plan import Elementwise, LossFunction, Operation
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.losses import LOSSES
from fastnet.definition.optimizers import OPTIMIZERS, Optimizer

NETWORK = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dropout(0.5), fn.Dense(2)])
LOWERED = lower(NETWORK)
FLOAT64 = np.dtype(np.float64)


class Shuffled(Operation):
    """An operation that no backend has."""


class Unheard(Optimizer):
    """An optimizer that no backend has."""

    name = "unheard"


def with_last(**changes):
    """The plan with a changed activation."""
    operations = [replace(op, **changes) if isinstance(op, Elementwise) else op
                  for op in LOWERED.operations]  # fmt: skip
    return replace(LOWERED, operations=tuple(operations))


def with_operation():
    dropout = LOWERED.operations[2]
    unknown = Shuffled(dropout.sources, dropout.target, dropout.units, True)
    operations = [unknown if op is dropout else op for op in LOWERED.operations]
    return replace(LOWERED, operations=tuple(operations))


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        (with_operation, "operation 'shuffled'"),
        (lambda: with_last(kind="wavy", constants=()), "activation 'wavy'"),
        (lambda: replace(LOWERED, loss=LossFunction("regret", (), 2)), "loss 'regret'"),
    ],
    ids=["operation", "activation", "loss"],
)
def test_an_unknown_kind_is_refused_by_its_name_when_a_plan_is_compiled(backend, planted, named):
    with pytest.raises(fn.BackendUnavailable, match=f"'{backend}' does not have {named}; no "):
        loading.load(backend).compile(planted(), FLOAT64, None, None)


def test_an_unknown_optimizer_is_refused_by_its_name(backend):
    program = loading.load(backend).compile(LOWERED, FLOAT64, None, None)
    x, y = rows_for(NETWORK, 8)
    data = program.upload(Data(Inputs(x.astype(float)), y.astype(float)))
    state = State(
        program.to_device(np.zeros(LOWERED.size)), program.to_device(np.zeros((0, LOWERED.size)))
    )
    run = Run(0, 1, 8, None, Unheard(), 0.1)
    with pytest.raises(fn.BackendUnavailable, match=f"'{backend}' does not have optimizer 'unhe"):
        program.train(state, data, run)
    with pytest.raises(fn.BackendUnavailable, match="optimizer 'unheard'; no backend here has it"):
        program.update(state, program.to_device(np.zeros(LOWERED.size)), run, 0)
    assert state.updates == 0
    assert not program.to_host(state.parameters).any()


def test_a_refusal_says_which_backends_have_the_kind():
    class Half(type(loading.load("numpy"))):
        name = "half"

        @property
        def kinds(self):
            return {**super().kinds, "activation": ("relu",)}

    with pytest.raises(fn.BackendUnavailable, match=r"'half' .*'tanh'; these .* have it: 'numpy'"):
        Half().compile(LOWERED, FLOAT64, None, None)


def test_our_backends_have_every_kind_of_the_table(backend):
    found = loading.load(backend).kinds
    for table, known in kinds.TABLES.items():
        # Identity is left out of plans.
        assert set(found[table]) - {"identity"} == set(known) - {"identity"}


def test_the_samples_hold_every_activation_loss_and_optimizer():
    assert {activation.name for activation in EVERYWHERE} == set(ACTIVATIONS) - {"softmax"}
    assert {loss.name for _, loss in PAIRS} == set(LOSSES)
    trained = {optimizer.name for optimizer, _ in TRAJECTORIES}
    assert trained == {name for name, cls in OPTIMIZERS.items() if issubclass(cls, Optimizer)}


def test_every_definition_becomes_kinds_of_the_table():
    activations = [one for one in EVERYWHERE if one.name != "parametric"]
    losses = [*(cls() for cls in LOSSES.values()), fn.Poisson(log_input=False)]
    losses += [fn.Quantile((0.1, 0.9)), fn.Crossentropy(0.1), fn.BinaryCrossentropy(0.1)]
    optimizers = [cls() for cls in OPTIMIZERS.values() if issubclass(cls, Optimizer)]
    optimizers += [fn.SGD(momentum=0.5), fn.SGD(momentum=0.5, nesterov=True)]
    for table, made in (
        (kinds.ACTIVATIONS, activations),
        (kinds.LOSSES, losses),
        (kinds.OPTIMIZERS, optimizers),
    ):
        assert {one.canonical()[0] for one in made} == set(table)
        assert sorted(table.values()) == list(range(len(table)))
