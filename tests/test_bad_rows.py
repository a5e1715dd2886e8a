"""Invalid rows: one clear error each, and the model stays as it was."""

# ruff: noqa: E501  (tables with one case a line)

import math

import numpy as np
import polars
import pytest
from compare import assert_same_bits
from samples import rows_for
from scipy import sparse

import fastnet as fn

NETWORKS = {
    "real": fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(2)]),
    "one": fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(1)]),
    "probability": fn.Network(3, [fn.Dense(2, "sigmoid")], "binary_crossentropy"),
    "class": fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(5, "softmax")], "crossentropy"),
    "count": fn.Network(3, [fn.Dense(2)], "poisson"),
}
ROWS = 10


def changed(array, place, value):
    array = np.array(array, np.result_type(array, type(value)))
    array[place] = value
    return array


def masked(array):
    return np.ma.masked_array(array, array > 0)


X, Y = rows_for(NETWORKS["real"], ROWS)
CLASSES = np.arange(ROWS) % 5
HALVES = np.full((ROWS, 2), 0.5)
WEIGHT = np.ones(ROWS)

#: The network, x, y, sample_weight, and the error.
BAD = {
    "x_of_other_columns": ("real", X[:, :2], Y, None, r"x has 2 columns \(shape \(10, 2\)\).*has 3 inputs"),
    "x_of_one_dimension": ("real", X[0], Y, None, r"shape \(3,\).*reshape\(1, -1\)"),
    "x_of_three_dimensions": ("real", X[None], Y, None, r"shape \(1, 10, 3\)"),
    "x_of_no_dimension": ("real", 3.0, Y, None, r"shape \(\)"),
    "x_of_no_rows": ("real", X[:0], Y[:0], None, "x has no rows"),
    "x_none": ("real", None, Y, None, "x has dtype object"),
    "x_text": ("real", X.astype(str), Y, None, r"x has dtype <U\d+.*np\.asarray\(x, 'float32'\)"),
    "x_object": ("real", X.astype(object), Y, None, "x has dtype object"),
    "x_complex": ("real", X + 0j, Y, None, "x has dtype complex128"),
    "x_dates": ("real", X.astype("M8[s]"), Y, None, r"x has dtype datetime64"),
    "x_records": ("real", np.zeros(ROWS, "f4,f4"), Y, None, "x has dtype"),
    "x_ragged": ("real", [[1.0, 2.0, 3.0], [1.0]], Y[:2], None, r"x is not an array of numbers: .*[^.]\.$"),
    "x_masked": ("real", masked(X), Y, None, r"x has masked entries.*filled\(0\)"),
    "x_sparse": ("real", sparse.csr_matrix(X), Y, None, r"sparse matrix.*toarray"),
    "x_lazy": ("real", polars.LazyFrame(X), Y, None, r"it is a lazy table: use x\.collect\(\)"),
    "x_nan": ("real", changed(X, (7, 2), math.nan), Y, None, "x holds nan in row 7, column 2"),
    "x_infinite": ("real", changed(X, (3, 0), -math.inf), Y, None, "x holds -inf in row 3, column 0"),
    "x_overflowing": ("real", changed(X, (4, 1), 1e39), Y, None, r"1e\+39.*row 4, column 1.*overflows float32"),
    "y_shorter": ("real", X, Y[:9], None, "x has 10 rows and y has 9 rows"),
    "y_longer": ("one", X, np.ones(11), None, "x has 10 rows and y has 11 rows"),
    "y_of_other_columns": ("real", X, Y[:, :1], None, r"y has shape \(10, 1\); it must be \(10, 2\)"),
    "y_of_one_dimension": ("real", X, Y[:, 0], None, r"y has shape \(10,\); it must be \(10, 2\)"),
    "y_for_one_output": ("one", X, Y, None, r"y has shape \(10, 2\).*\(10, 1\) or \(10,\)"),
    "y_number": ("one", X, 3.0, None, "y has no rows"),
    "y_text": ("one", X, ["a"] * ROWS, None, "y has dtype"),
    "y_nan": ("real", X, changed(Y, (2, 1), math.nan), None, "y holds nan in row 2, column 1"),
    "y_overflowing": ("real", X, changed(Y, (2, 1), -1e300), None, r"-1e\+300.*row 2, column 1.*overflows float32"),
    "y_masked": ("real", X, masked(Y), None, "y has masked entries"),
    "probability_above": ("probability", X, changed(HALVES, (6, 1), 1.5), None, r"y is 1\.5 in row 6, column 1.*\[0, 1\]"),
    "probability_below": ("probability", X, changed(HALVES, (6, 0), -0.5), None, r"y is -0\.5 in row 6"),
    "count_negative": ("count", X, changed(HALVES, (1, 0), -1.0), None, r"y is -1\.0 in row 1, column 0.*0 or more"),
    "class_beyond": ("class", X, changed(CLASSES, 4, 5), None, "y is class 5 in row 4.*0 to 4"),
    "class_negative": ("class", X, changed(CLASSES, 4, -1), None, "y is class -1 in row 4"),
    "class_fraction": ("class", X, changed(CLASSES, 4, 1.5), None, r"y is 1\.5 in row 4.*whole numbers"),
    "class_nan": ("class", X, changed(CLASSES, 4, math.nan), None, "y holds nan in row 4"),
    "class_huge": ("class", X, changed(CLASSES, 4, 1e300), None, r"1e\+300 in row 4"),
    "class_columns": ("class", X, np.ones((ROWS, 4)), None, r"y has shape \(10, 4\).*indices.*one-hot"),
    "class_sums": ("class", X, np.full((ROWS, 5), 0.3), None, r"y sums to 1\.5 in row 0.*binary_crossentropy"),
    "class_outside": ("class", X, np.tile([2.0, -1.0, 0, 0, 0], (ROWS, 1)), None, r"y is 2\.0 in row 0, column 0"),
    "weight_shape": ("real", X, Y, WEIGHT[:9], r"sample_weight has shape \(9,\); it must be \(10,\)"),
    "weight_number": ("real", X, Y, 2.0, r"sample_weight has shape \(\)"),
    "weight_matrix": ("real", X, Y, np.ones((ROWS, 2)), r"shape \(10, 2\)"),
    "weight_negative": ("real", X, Y, changed(WEIGHT, 3, -0.5), r"sample_weight is -0\.5 in row 3"),
    "weight_zero": ("real", X, Y, 0 * WEIGHT, "sample_weight is zero in every row"),
    "weight_nan": ("real", X, Y, changed(WEIGHT, 8, math.nan), "sample_weight holds nan in row 8"),
    "weight_infinite": ("real", X, Y, changed(WEIGHT, 8, math.inf), "sample_weight holds inf in row 8"),
    "weight_text": ("real", X, Y, ["1"] * ROWS, "sample_weight has dtype"),
}  # fmt: skip


def refuse(model, name):
    """Every method that takes rows refuses a case of BAD."""
    kind, x, y, weight, message = BAD[name]
    for call in (
        lambda: model.fit(x, y, sample_weight=weight, epochs=2),
        lambda: model.evaluate(x, y, weight),
        lambda: model.loss_and_gradient(x, y, weight),
    ):
        with pytest.raises(fn.DataError, match=message) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    with pytest.raises(fn.DataError, match=rf"(?s)validation.*{message}"):
        model.fit(*rows_for(NETWORKS[kind], ROWS), validation=(x, y, weight), epochs=2)


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused(name):
    refuse(fn.Model(NETWORKS[BAD[name][0]], backend="numpy", seed=1), name)


@pytest.mark.parametrize("name", ["x_nan", "class_beyond", "weight_negative"])
def test_after_bad_rows_a_model_trains_as_if_they_had_not_been(backend, name):
    kind = BAD[name][0]
    model, other = (fn.Model(NETWORKS[kind], backend=backend, seed=1) for _ in range(2))
    start = model.parameters.flat.copy()
    refuse(model, name)
    assert_same_bits(model.parameters.flat, start)
    good = rows_for(NETWORKS[kind], ROWS)
    for one in (model, other):
        one.fit(*good, epochs=2)
    assert_same_bits(model.parameters.flat, other.parameters.flat)
    assert_same_bits(model.predict(good[0]), other.predict(good[0]))


@pytest.mark.parametrize(
    "name",
    [n for n in BAD if n.startswith("x_") and n not in ("x_nan", "x_infinite", "x_overflowing")],
)
def test_rows_that_are_not_numbers_cannot_be_predicted(backend, name):
    kind, x, _, _, message = BAD[name]
    with pytest.raises(fn.DataError, match=message):
        fn.Model(NETWORKS[kind], backend=backend, seed=1).predict(x)


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        ((X,), "validation has 1 parts"),
        ((X, Y, WEIGHT, 1), "validation has 4 parts"),
        (0.99, "leaves 0 of 10 rows"),
    ],
)
def test_validation_rows_of_another_form_are_refused(validation, says):
    model = fn.Model(NETWORKS["real"], backend="numpy", seed=1)
    with pytest.raises(fn.DataError, match=says):
        model.fit(X, Y, validation=validation)


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, math.nan, "0.2", True])
def test_a_validation_fraction_outside_of_0_to_1_is_refused(fraction):
    model = fn.Model(NETWORKS["real"], backend="numpy", seed=1)
    with pytest.raises(fn.DefinitionError, match=f"validation is {fraction!r}"):
        model.fit(X, Y, validation=fraction)


def test_parameters_that_are_not_finite_are_refused_by_name_and_place(backend):
    model = fn.Model(NETWORKS["real"], backend=backend, seed=1)
    model.parameters["0.weight"][2, 1] = math.nan
    with pytest.raises(fn.DataError, match=r"parameter '0\.weight' holds nan in row 2, column 1"):
        model.fit(X, Y, epochs=1)
    model.parameters["0.weight"][2, 1] = 0
    model.parameters["1.bias"][1] = math.inf
    with pytest.raises(fn.DataError, match=r"parameter '1\.bias' holds inf in row 1"):
        model.fit(X, Y, epochs=1)
    model.parameters["1.bias"][1] = 0
    model.fit(X, Y, epochs=1)


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("0.bias", [1.0, 2.0], fn.DataError, r"'0\.bias' has shape \(4,\).*has \(2,\)"),
        ("0.bias", [1.0, 2.0, math.nan, 4.0], fn.DataError, r"'0\.bias' holds nan in row 2"),
        ("0.bias", ["a"] * 4, fn.DataError, r"'0\.bias' has dtype"),
        ("0.bais", [1.0] * 4, KeyError, r"did you mean '0\.bias'"),
        ("7.weight", [1.0], KeyError, r"unknown parameter '7\.weight'"),
    ],
)
def test_what_cannot_be_a_parameter_is_refused(name, value, error, says):
    model = fn.Model(NETWORKS["real"], backend="numpy", seed=1)
    start = model.parameters.flat.copy()
    with pytest.raises(error, match=says):
        model.parameters[name] = value
    assert_same_bits(model.parameters.flat, start)


def test_assigned_parameters_are_used(backend):
    network = fn.Network(2, [fn.Dense(1)])
    model = fn.Model(network, backend=backend, dtype="float64")
    model.parameters["0.weight"] = [[2], [3]]
    model.parameters["0.bias"] = np.array([4.0], np.float16)
    assert model.predict([[10, 100]]).tolist() == [[324.0]]
    model.parameters["0.bias"][...] = 5
    assert model.predict([[10, 100]]).tolist() == [[325.0]]
    assert model.parameters.flat.tolist() == [2, 3, 5]
    assert list(model.parameters) == ["0.weight", "0.bias"]
    assert "0.weight (2, 1), 0.bias (1,); float64" in repr(model.parameters)
