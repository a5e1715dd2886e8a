"""What stands both in the CUDA kernels and in the Python beside them says the same."""

import re

import numpy as np
import pytest
from cuda_cases import network
from simulated import building

from fastnet import random
from fastnet.contract.program import Run
from fastnet.definition import optimizers
from fastnet_cupy import context, control, layout, steps, tiny

_COMMENT = re.compile(r"//[^\n]*")


def text(file):
    return _COMMENT.sub("", (building.KERNELS / file).read_text())


def enums(file):
    """The names of each enum in a file, in their order: none gives a value of its own."""
    found = re.findall(r"\benum\s*\{([^}]*)\}", text(file))
    return [tuple(name.strip() for name in body.split(",") if name.strip()) for body in found]


def enum_with(name):
    """The values of the enum that has `name`."""
    files = sorted(path.name for path in building.KERNELS.iterdir())
    [names] = [names for file in files for names in enums(file) if name in names]
    return {name: place for place, name in enumerate(names)}


def define(file, name):
    """The value of a macro that is a number."""
    [value] = re.findall(rf"^#define {name} ([\w.]+?)[uf]?\s*$", text(file), re.MULTILINE)
    return float(value)


#: Enums by their first name: the module that has the same names, and what C++ puts before them.
NAMED = {
    "IDENTITY": (layout, ""),
    "MSE": (layout, ""),
    "LAYER_INPUTS": (layout, "LAYER_"),
    "NEXT": (control, ""),
    "SGD": (control, ""),
    "PREDICT": (context, ""),
}
#: Those that stand for places in what Python makes: held against it, each in a test below.
PLACES = ["TABLE_INPUTS", "MASK_THRESHOLD", "MASS", "RATE", "L1"]


def test_every_enum_of_the_kernels_is_known_here():
    files = sorted(path.name for path in building.KERNELS.iterdir())
    first = sorted(names[0] for file in files for names in enums(file))
    assert first == sorted([*NAMED, *PLACES])


@pytest.mark.parametrize("first", NAMED)
def test_an_enum_has_the_values_of_its_module(first):
    module, before = NAMED[first]
    for name, value in enum_with(first).items():
        assert getattr(module, name.removeprefix(before)) == value, name


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("sums.cuh", "FN_WARP", context.WARP),
        ("step.cu", "STEP_THREADS", context.THREADS),
        ("layered.cu", "LAYERED_THREADS", context.THREADS),
        ("step.cu", "MASS_THREADS", steps.MASS_THREADS),
        ("layered.cu", "SUM_COLUMNS", context.SUM_COLUMNS),
        ("tiny.cu", "TINY_THREADS", tiny.MOST_THREADS),
        ("philox.cuh", "FN_DROPOUT", random.DROPOUT),
    ],
)
def test_a_macro_has_the_value_of_its_module(file, name, value):
    assert define(file, name) == value


def test_the_table_is_read_where_it_is_written():
    _, made = network(3, 0.9, (5, "elu"), 0.25, (4, "sigmoid"), loss="binary_crossentropy")
    table = layout.tabulate(made)
    head, column, mask = (enum_with(n) for n in ("TABLE_INPUTS", "LAYER_INPUTS", "MASK_THRESHOLD"))
    wanted = {
        "TABLE_INPUTS": 3, "TABLE_OUTPUTS": 4, "TABLE_SIZE": 44, "TABLE_LAYERS": 2,
        "TABLE_MASKS": 1, "TABLE_SOFTMAX": 0, "TABLE_OUTPUT": layout.SIGMOID,
        "TABLE_OUTPUT_SOFTMAX": 0, "TABLE_LOSS": layout.BINARY_CROSSENTROPY,
    }  # fmt: skip
    assert {name: table.whole[head[name]] for name in wanted} == wanted
    assert set(head) == {*wanted, "TABLE_HEAD"}
    rows = table.whole[head["TABLE_HEAD"] :][: 2 * column["LAYER_COLUMNS"]].reshape(2, -1)
    np.testing.assert_array_equal(rows[:, column["LAYER_FIRST_MASK"]], [1, 2])
    np.testing.assert_array_equal(rows[:, column["LAYER_MASKS"]], [1, 0])
    np.testing.assert_array_equal(rows[:, column["LAYER_WEIGHT"]], [0, 20])
    masks = table.whole[head["TABLE_HEAD"] + rows.size :].reshape(-1, mask["MASK_COLUMNS"])
    np.testing.assert_array_equal(masks[:, mask["MASK_LAYER"]], [0, 2])
    thresholds = masks[:, mask["MASK_THRESHOLD"]].astype(np.uint32)
    np.testing.assert_array_equal(thresholds, [random.keep_threshold(r) for r in (0.9, 0.25)])
    for softmax in [
        network(2, (3, "softmax"))[1],
        network(2, (3, "softmax"), loss="crossentropy")[1],
    ]:
        whole = layout.tabulate(softmax).whole
        apart = softmax.loss == layout.MSE
        assert (whole[head["TABLE_SOFTMAX"]], whole[head["TABLE_OUTPUT_SOFTMAX"]]) == (
            apart,
            not apart,
        )


def test_scalars_rates_and_objective_stand_in_the_same_order():
    scalars = enum_with("SCALE")
    assert (scalars["SCALARS"], scalars["SCALE"]) == (control.SCALARS, control.SCALE)
    place = enum_with("RATE")
    adam = optimizers.AdamW(0.5, beta1=0.75, beta2=0.5, weight_decay=0.25)
    [rates] = control.rates(adam, np.array([0.5]), updates=0)
    assert place["RATES"] == control.RATES == len(rates)
    assert rates[place["RATE"]] == 0.5 / 0.25
    assert rates[place["WIDEN"]] == 1 / np.sqrt(0.5)
    assert rates[place["STAY"]] == 1 - 0.5 * 0.25
    place = enum_with("CLIP_NORM")
    run = Run(0, np.ones(1), 1, None, adam, l1=1.0, l2=2.0, clip_value=3.0, clip_norm=4.0)
    held = control.objective(run)
    assert place["OBJECTIVE"] == len(held)
    assert [held[place[n]] for n in ("L1", "L2", "CLIP_VALUE", "CLIP_NORM")] == [1, 2, 3, 4]
