"""The table that kernels follow: the meaning of its rows and columns."""

from fastnet.contract.kinds import OPERATIONS
from fastnet_numba.ops.declared import code

#: Kinds of rows: a plan's operations. `layers.py` computes them, `layout.py` makes their rows.
AFFINE = code("operation", "affine")
ELEMENTWISE = code("operation", "elementwise")
SOFTMAX = code("operation", "softmax")
DROPOUT = code("operation", "dropout")
NORMALIZE = code("operation", "normalize")
SCALE = code("operation", "scale")
ADD = code("operation", "add")
PARAMETRIC = code("operation", "parametric")
BATCH_NORMALIZE = code("operation", "batchnormalize")
EMBED = code("operation", "embed")
PERIODIC = code("operation", "periodic")
PIECEWISE_LINEAR = code("operation", "piecewiselinear")

#: ReLU, where the operation before it computes it too.
RECTIFY = len(OPERATIONS)

#: Where a value is read by another operation too: a copy of it (if TARGET is another place), and
#: on the way back the sum of the derivatives: the other one's was left at KEPT by its ADD.
FORK = len(OPERATIONS) + 1

#: BATCH_NORMALIZE by the statistics among the parameters.
BY_STATISTICS = len(OPERATIONS) + 2

#: Columns that stay as they are, where an embedding makes others of those beside them.
STAY = len(OPERATIONS) + 3

#: Columns of the table of operations. Places are indices into the arena, those of WEIGHT and BIAS
#: into the parameters; -1 is none. CODE is the activation's, and becomes the address of what
#: computes it (`addresses.py`); so it does for softmax, with OTHER for the way back, and for
#: dropout. RATE and EPSILON have the bits of a float64. A normalization has factors and shifts at
#: WEIGHT and BIAS, as SCALE has, and keeps normalized rows at KEPT, their inverse deviations at
#: CONSTANTS. ADD's first source is at OTHER. PARAMETRIC has alpha at WEIGHT, f(z) - z at KEPT, and
#: OTHER is 1 for 1 - alpha. The statistics of BATCH_NORMALIZE are at WEIGHT and BIAS; it keeps
#: those of the batch at KEPT and OTHER, the inverse deviations at CONSTANTS, and RATE is its
#: momentum. EMBED is a row for each category: its codes, of which there are INPUTS, are at SOURCE,
#: their table at WEIGHT; it makes UNITS columns, the first of which is column CODE of the value.
#: PERIODIC and PIECEWISE_LINEAR make UNITS of each of INPUTS columns: CODE functions of it, at
#: BASIS in rows BASIS_ROW apart, times WEIGHT, with BIAS; at OTHER and LAYER are frequencies and
#: phases, or slopes and edges. STAY has UNITS columns. SWEPT is 1 for an AFFINE whose weights may
#: be updated on the way back (`sweep.py`). COMPUTE and COMPUTE_BACK are the addresses of what
#: computes kinds that most networks do without (`addresses.COMPUTED`). At PANELS weights stay
#: packed for all chunks of a prediction.
(
    KIND, INPUTS, UNITS, WEIGHT, BIAS, CODE, SOURCE, SOURCE_ROW, TARGET, TARGET_ROW, SLOPE,
    TRANSPOSED, FUSED, LAYER, RATE, CONSTANTS, NEEDS_INPUT_GRADIENT, KEPT, OTHER, EPSILON,
    BASIS, BASIS_ROW, SWEPT, COMPUTE, COMPUTE_BACK, PANELS, FIELDS,
) = range(27)  # fmt: skip

#: As TRANSPOSED: the backward pass reads the weights as they lie, row by row.
AS_THEY_LIE = -2

#: The first row of the table has other columns: what there is once. A chunk's rows, places, the
#: address of the tiles, the loss's code or address, its terms in a row, the place of its constant,
#: that of packed blocks with their sizes (`products.Room`), and from how many rows on these are in
#: the lanes (`narrow.py`): 0 for never; in training all or none are. NOTED and MOVED: the addresses
#: of what is done with statistics, -1 where there are none. FORWARD: that of what goes forward
#: through the table; SWEEP and OTHERS: those of `sweep.py`, -1 where no layer is SWEPT; LARGE: 0,
#: or 1 where products may be large. A 1 in NOTED, MOVED or LARGE is replaced by the address of what
#: is called there (`addresses.py`).
(
    CHUNK, INPUT_WIDTH, OUTPUT_WIDTH, X, X_ROW, Y, ROW_WEIGHTS, OUTPUT, OUTPUT_ROW, D, D_NEXT,
    ONES, TILES, LOSS, TERMS, LOSS_CONSTANT, PACKED, BLOCK_DEPTH, BLOCK_ENTRIES, STRIP_DEPTH,
    STRIP_ROWS, PLAIN, ROWS_IN_LANES, NOTED, MOVED, FORWARD, SWEEP, OTHERS, LARGE, PLACES,
) = range(30)  # fmt: skip

#: Columns of the table.
COLUMNS = max(FIELDS, PLACES)
