"""What the CUDA kernels and the Python beside them share, and what they have of the contract."""

import re
from dataclasses import replace

import numpy as np
import pytest
from cuda_cases import a_run, network
from simulated import building

import fastnet as fn
from fastnet.contract import kinds
from fastnet.contract.lowering import lower
from fastnet_cupy import control, layout, names, narrow
from fastnet_cupy.names import Control, Layer, Setting, Step, Table
from fastnet_cupy.precision import FLOAT32

_COMMENT = re.compile(r"//[^\n]*")


def text(path):
    return _COMMENT.sub("", path.read_text())


def test_no_enumeration_stands_in_a_kernel_source():
    for path in sorted(names.KERNELS.iterdir()):
        assert not re.findall(r"\benum\b", text(path)), f"{path.name} has numbers of its own"


def test_every_name_of_the_header_is_used():
    """But for the counts, and the modes that are what others are not."""
    used = " ".join(text(path) for path in names.KERNELS.iterdir())
    header = re.sub(r"#define EACH_.*", "", names.header())
    assert re.findall(r"#define (\w+)", header), "there is nothing to look for"
    for name in re.findall(r"#define (\w+)|(\w+) = \d", header):
        name = name[0] or name[1]
        counts = ("MODES", "CONTROLS", "SCALARS", "SETTINGS", "STEP_HEAD")
        assert name in (*counts, "LOSS") or re.search(rf"\b{name}\b", used), name


@pytest.mark.parametrize("table", ["activation", "loss", "optimizer"])
def test_the_header_has_the_contracts_codes(table):
    found = dict(re.findall(rf"\b{table.upper()}_([A-Z0-9_]+) = (\d+)", names.header()))
    assert {kind.lower(): int(code) for kind, code in found.items()} == kinds.TABLES[table]


def test_slopes_come_from_outputs_where_the_numpy_backend_needs_no_input():
    from fastnet_numpy.activations import FUNCTIONS

    for kind, function in FUNCTIONS.items():
        assert names.slope_from_output(kind) == (not function.needs_z), kind


def test_the_tables_hold_the_network():
    _, made = network(3, 0.9, (5, "elu"), 0.25, (4, fn.Sigmoid()), loss="binary_crossentropy")
    tables = layout.tabulate(made)
    head, rest = tables.ints[: len(Table)], tables.ints[len(Table) :]
    wanted = {
        Table.INPUTS: 3, Table.OUTPUTS: 4, Table.SIZE: 44, Table.LAYERS: 2, Table.MASKS: 1,
        Table.SOFTMAX: 0, Table.OUTPUT: kinds.ACTIVATIONS["sigmoid"], Table.OUTPUT_SOFTMAX: 0,
        Table.LOSS: kinds.LOSSES["binary_crossentropy"], Table.EACH: 4, Table.TRAINED: 44,
    }  # fmt: skip
    assert {place: head[place] for place in Table} == wanted
    rows = rest[: 2 * len(Layer)].reshape(2, -1)
    np.testing.assert_array_equal(rows[:, Layer.FIRST_MASK], [1, 2])
    np.testing.assert_array_equal(rows[:, Layer.MASKS], [1, 0])
    np.testing.assert_array_equal(rows[:, Layer.WEIGHT], [0, 20])
    np.testing.assert_array_equal(rows[:, Layer.BIAS], [15, 40])
    np.testing.assert_array_equal(rest[rows.size :], [0, 2], "the masks' layers")
    np.testing.assert_array_equal(tables.floats, [1, 1, 0, 0, 0])
    for loss, apart in (("mse", 1), ("crossentropy", 0)):
        ints = layout.tabulate(network(2, (3, "softmax"), loss=loss)[1]).ints
        assert (ints[Table.SOFTMAX], ints[Table.OUTPUT_SOFTMAX]) == (apart, 1 - apart)
        assert ints[Table.EACH] == (3 if apart else 1)


def test_a_bias_lies_where_the_plan_says():
    lowered = lower(fn.Network(3, [fn.Dense(5), fn.Dense(2)]))
    first = lowered.operations[0]
    moved = replace(first, bias=replace(first.bias, offset=99))
    made = layout.lay_out(replace(lowered, operations=(moved, *lowered.operations[1:])))
    rows = layout.tabulate(made).ints[len(Table) :].reshape(2, len(Layer))
    assert rows[:, Layer.BIAS].tolist() == [99, 30]


def test_a_plan_that_is_no_chain_of_layers_becomes_as_few_stages_as_kernels_allow(caplog):
    caplog.set_level("DEBUG", "fastnet")
    block = [fn.LayerNorm(), fn.ReLU(), fn.Dropout(0.5), fn.Dense(3, fn.PReLU()), fn.Scale()]
    layers = [fn.Dense(3, "tanh"), fn.Residual(block), fn.Mish(), fn.BatchNorm(), fn.Dense(2)]
    made = layout.lay_out(lower(fn.Network(3, layers)))
    fronts = [type(stage.front).__name__ for stage in made.stages]
    assert fronts == [
        "Affine", "Normalize", "Affine", "NoneType", "NoneType", "BatchNormalize", "Affine"
    ]  # fmt: skip
    assert [stage.layer.kind for stage in made.stages] == [
        "tanh", "relu", "relu", "identity", "mish", "identity", "identity"
    ]  # fmt: skip
    assert [stage.scale is not None for stage in made.stages] == [0, 1, 0, 1, 0, 1, 0]
    assert [len(stage.sources) for stage in made.stages] == [1, 1, 1, 1, 2, 1, 1]
    assert made.all_masks == (layout.Mask(0.5, 7),)
    assert (made.gradient_size, made.size - made.trained) == (made.size, 6)
    assert "goes layer by layer: its other paths do not know Normalize" in caplog.text
    assert not [*narrow.shapes_for(made, FLOAT32, 2**20)]


def test_softmax_elsewhere_than_at_the_output_is_refused():
    lowered = lower(fn.Network(3, [fn.Dense(3), fn.Softmax()], "mse"))
    dense, softmax = lowered.operations
    again = replace(softmax, sources=(2,), target=3)
    changes = {"operations": (dense, softmax, again), "loss_source": 3, "prediction": 3}
    with pytest.raises(fn.BackendUnavailable, match=r"softmax only at the output; .* Softmax"):
        layout.lay_out(replace(lowered, **changes))


def test_settings_and_steps_are_those_of_the_run():
    _, made = network(3, 0.5, (2,))
    run = a_run(
        steps=2, optimizer=fn.Adam(beta1=0.75, beta2=0.5, epsilon=1e-4), l1=1.0, clip_value=3.0,
        clip_norm=4.0, learning_rate=np.array([0.5, 0.25]), l2=np.array([2.0, 0.0]),
        weight_decay=0.25, dropout_factor=np.array([1.0, 0.0]),
    )  # fmt: skip
    settings = control.settings(run)
    place = [Setting.L1, Setting.CLIP_VALUE, Setting.CLIP_NORM]
    assert settings[place].tolist() == [1, 3, 4]
    constants = settings[Setting.CONSTANTS :].reshape(2, names.OPTIMIZER_CONSTANTS)
    np.testing.assert_array_equal(constants[0], [0.75, 0.5, 1e-4, 0])
    np.testing.assert_array_equal(constants[0] + constants[1], 1)
    steps = control.step_table(made, run, updates=0)
    np.testing.assert_array_equal(steps[:, Step.RATE], [0.5 / 0.25, 0.25 / (1 - 0.75**2)])
    np.testing.assert_array_equal(steps[:, Step.WIDEN], 1 / np.sqrt([0.5, 0.75]))
    np.testing.assert_array_equal(steps[:, Step.STAY], [1 - 0.5 * 0.25, 1 - 0.25 * 0.25])
    np.testing.assert_array_equal(steps[:, Step.L2], [2, 0])
    np.testing.assert_array_equal(steps[:, Step.MASKS :], [[2**31, 2], [0, 1]])
    block = control.control(rows=4, batch=2)
    control.drop(block, made, run)
    assert block[Control.STEP_NUMBERS] == steps.shape[1]
    assert block[Control.DROPPING] == 1
    control.drop(block, made, replace(run, dropout_factor=0.0))
    assert block[Control.DROPPING] == 0


def test_the_simulated_device_reads_the_kernels_of_the_backend():
    assert building.KERNELS == names.KERNELS
