"""The table that kernels follow: the meaning of its rows and columns."""

#: Kinds of operations.
AFFINE, ELEMENTWISE, RECTIFY, SOFTMAX, DROP = range(5)

#: Columns of the table of operations. Places are indices into the arena, those of WEIGHT and
#: BIAS into the parameters; -1 is none.
(
    KIND, INPUTS, UNITS, WEIGHT, BIAS, CODE, SOURCE, SOURCE_ROW, TARGET, TARGET_ROW, SLOPE,
    TURNED, FUSED, LAYER, CONSTANTS, FIELDS,
) = range(16)  # fmt: skip

#: Elementwise activations, by code.
(
    IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, TANH_GELU,
) = range(10)  # fmt: skip

#: Losses, by code.
MSE, MAE, HUBER, POISSON, POISSON_RATE, QUANTILE, BINARY_CROSSENTROPY, CROSSENTROPY = range(8)

#: The first row of the table has other columns: what there is once. A chunk's rows, places, the
#: address of the tiles, the loss's code and the place of its constant.
(
    CHUNK, INPUT_WIDTH, OUTPUT_WIDTH, X, X_ROW, Y, ROW_WEIGHTS, OUTPUT, OUTPUT_ROW, D, D_NEXT,
    ONES, TILES, LOSS, LOSS_CONSTANT, PACKED, PLACES,
) = range(17)  # fmt: skip

#: Columns of the table.
COLUMNS = max(FIELDS, PLACES)
