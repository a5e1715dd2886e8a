"""What Python and the kernels both name: kinds, and places in the arrays that they share.

Each name stands once, here or in the contract. Kernels get all of them from the header
`names.cuh`, which is made from this module whenever a kernel is compiled (`header`).
"""

import re
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np

from fastnet import random
from fastnet.contract import kinds
from fastnet.definition.optimizers import negligible

KERNELS = Path(__file__).parent / "kernels"

#: The header's name, as `#include` has it.
HEADER = "names.cuh"

#: Threads of a warp.
WARP = 32

#: Threads of a block, in kernels that go over entries.
THREADS = 256

#: Threads of the block that adds up the rows' weights: as many reads are under way at once.
MASS_THREADS = 1024

#: Threads of the tiny kernel's block, at most: as many as leave each the registers that float64
#: takes.
TINY_THREADS = 256

#: Columns whose sums one block makes, side by side.
SUM_COLUMNS = 32

#: Constants of an activation and of an optimizer, at most.
ACTIVATION_CONSTANTS, OPTIMIZER_CONSTANTS = 2, 4


class Mode(IntEnum):
    """What a pass computes for a batch."""

    PREDICT = 0
    LOSS = 1
    GRADIENT = 2


class Control(IntEnum):
    """Places in the control block: what kernels know of the run, `(len(Control),)` int64.

    The host writes it before a run; `total`, the one kernel of a step that is a single block,
    moves it on, or the last block of the update does. Kernels before that one in a step read NEXT,
    kernels after it NOW: so no kernel reads a number that another one is about to change.
    """

    #: The step, counted from the run's first, for the kernels before `total`.
    NEXT = 0
    #: The same for the kernels after it.
    NOW = 1
    #: 1 once a loss was not finite: nothing is updated any more.
    STOPPED = 2
    #: The run's first step, counted over the whole training.
    FIRST_STEP = 3
    #: Rows of a batch, at most.
    BATCH = 4
    #: Rows of the data.
    ROWS = 5
    #: The first epoch that the order has.
    FIRST_EPOCH = 6
    #: Whether there is an order.
    ORDERED = 7
    #: Steps whose batches the data holds, one behind the other; 0: it holds all rows.
    STREAMED = 8
    #: Of dropout.
    SEED = 9
    #: Whether dropout is applied.
    DROPPING = 10
    #: Of the run.
    STEPS = 11
    #: Numbers of a step's row in the step table.
    STEP_NUMBERS = 12
    #: The optimizer's code, and the vectors of its memory.
    OPTIMIZER = 13
    SLOTS = 14
    #: Whether batches are normalized by their own statistics.
    TRAINING = 15
    #: Blocks of the update that have read this block, where the update moves it on.
    DONE = 16


class Scalar(IntEnum):
    """Numbers of a step that one block makes and all blocks read, float64."""

    #: The sum of the weights of the batch's rows; only where rows have weights.
    MASS = 0
    #: What the gradient is multiplied with to be no longer than it may be.
    FACTOR = 1
    #: What the derivatives are multiplied with on the backward pass (fp16), a power of two.
    SCALE = 2


class Setting(IntEnum):
    """Numbers that hold for a whole run, float64."""

    L1 = 0
    #: Limits of the gradient's entries and of its norm; infinity: none.
    CLIP_VALUE = 1
    CLIP_NORM = 2
    #: 1 if the losses include the penalties, else 0.
    REPORTS_PENALTY = 3
    #: The first of the optimizer's constants; behind them, 1 minus each.
    CONSTANTS = 4


class Step(IntEnum):
    """Numbers of a step's row in the step table, float64."""

    #: The learning rate; for Adam over 1 - beta1^t.
    RATE = 0
    #: 1; for Adam 1 / sqrt(1 - beta2^t).
    WIDEN = 1
    #: What weight decay leaves of a parameter.
    STAY = 2
    L2 = 3
    #: The first of the masks' numbers: for each mask its threshold and its scale.
    MASKS = 4


class Table(IntEnum):
    """The beginning of the int table, which is one row for the network; see `layout.Tables`."""

    INPUTS = 0
    OUTPUTS = 1
    #: Of a gradient.
    SIZE = 2
    LAYERS = 3
    #: Dropout on the input: how many masks. They are the first of all masks.
    MASKS = 4
    #: Whether the last layer's activation is softmax, apart from the loss.
    SOFTMAX = 5
    #: The activation between the logits and the prediction; and whether that is softmax.
    OUTPUT = 6
    OUTPUT_SOFTMAX = 7
    LOSS = 8
    #: Terms of a row that the loss is the mean over.
    EACH = 9
    #: Of the parameters that are trained, which are the first.
    TRAINED = 10


class Layer(IntEnum):
    """A layer's row in the int table, behind the network's."""

    INPUTS = 0
    UNITS = 1
    #: Where the weight begins in the flat vector.
    WEIGHT = 2
    #: Where the bias begins; -1: there is none.
    BIAS = 3
    #: The activation.
    CODE = 4
    #: The first of its masks among all, and how many it has.
    FIRST_MASK = 5
    MASKS = 6


class Network(IntEnum):
    """A row of the table of networks that are trained in one launch, a block each: addresses.

    The arrays are those that a launch for one network is given, in the same order; 0: there is
    none.
    """

    CONTROL = 0
    SETTINGS = 1
    STEPS = 2
    PARAMETERS = 3
    MEMORY = 4
    X = 5
    Y = 6
    LABELS = 7
    WEIGHTS = 8
    ORDER = 9
    LOSSES = 10


class Category(IntEnum):
    """A row of the table of an embedding's categories, which has one more row for their end."""

    #: The first of its columns in what comes out.
    FIRST = 0
    #: Where its table begins in the flat vector; -1: it is one-hot.
    TABLE = 1
    #: The first of the blocks that sum up its gradient; they are none where it is one-hot.
    FIRST_BLOCK = 2


#: How each enumeration is called in the kernels: before its names, and the number of them.
_ENUMERATIONS = {
    Mode: ("", "MODES"),
    Control: ("", "CONTROLS"),
    Scalar: ("", "SCALARS"),
    Setting: ("SETTING_", "SETTINGS"),
    Step: ("STEP_", "STEP_HEAD"),
    Table: ("TABLE_", "TABLE_HEAD"),
    Layer: ("LAYER_", "LAYER_COLUMNS"),
    Network: ("NETWORK_", "NETWORK_COLUMNS"),
    Category: ("CATEGORY_", "CATEGORY_COLUMNS"),
}

_MACROS = {
    "FN_WARP": WARP,
    "FN_THREADS": THREADS,
    "FN_DROPOUT": f"{random.DROPOUT}u",
    "FN_SHUFFLE": f"{random.SHUFFLE}u",
    "MASS_THREADS": MASS_THREADS,
    "TINY_THREADS": TINY_THREADS,
    "SUM_COLUMNS": SUM_COLUMNS,
    "ACTIVATION_CONSTANTS": ACTIVATION_CONSTANTS,
    "OPTIMIZER_CONSTANTS": OPTIMIZER_CONSTANTS,
    **{
        f"NEGLIGIBLE_{name.upper()}_{8 * np.dtype(dtype).itemsize}": repr(bound)
        for dtype in (np.float32, np.float64)
        for name, bound in negligible(dtype)._asdict().items()
    },
}

#: How a kind stands in a kernel source: `struct Activation<ACTIVATION_RELU> : SlopeFromOutput {`.
_KIND = re.compile(r"struct (Activation|Loss|Optimizer)<\1_(\w+)> : (\w+) \{", re.IGNORECASE)


@cache
def _written() -> dict[str, dict[str, str]]:
    """The kinds that the kernels have, by table: each with the struct that it is derived from."""
    found: dict[str, dict[str, str]] = {"activation": {}, "loss": {}, "optimizer": {}}
    for path in sorted(KERNELS.glob("*.cuh")):
        for table, kind, base in _KIND.findall(path.read_text(encoding="utf-8")):
            found[table.lower()][kind.lower()] = base
    return found


def kinds_of(table: str) -> tuple[str, ...]:
    """The kinds of "activation", "loss" or "optimizer" that the kernels have."""
    return tuple(_written()[table])


def slope_from_output(activation: str) -> bool:
    """Whether da / dz can be computed from a alone, so that z need not be kept."""
    return _written()["activation"][activation] == "SlopeFromOutput"


@cache
def header() -> str:
    """The text of `names.cuh`: every name above, and the codes of the kinds."""
    lines = ["#pragma once"]
    lines += [f"#define {name} {value}" for name, value in _MACROS.items()]
    for enumeration, (before, count) in _ENUMERATIONS.items():
        places = [f"{before}{place.name} = {place.value}" for place in enumeration]
        lines.append(f"enum {{ {', '.join([*places, f'{count} = {len(enumeration)}'])} }};")
    for table, written in _written().items():
        codes = kinds.TABLES[table]
        names = {kind: f"{table}_{kind}".upper() for kind in written}
        places = [f"{name} = {codes[kind]}" for kind, name in names.items()]
        lines.append(f"enum {{ {', '.join(places)} }};")
        for base in sorted(set(written.values())):
            each = " ".join(f"DO({name})" for kind, name in names.items() if written[kind] == base)
            snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", base)
            lines.append(f"#define {f'each_{table}_{snake}'.upper()}(DO) {each}")
    return "\n".join([*lines, ""])
