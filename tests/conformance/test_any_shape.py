"""Shapes that nobody chose: hypothesis looks for those that go wrong."""

import numpy as np
import pytest
from compare import assert_near
from differences import assert_model_gradient
from samples import FUSED, float64_model, rows_for, weights_for
from tolerances import FORWARD

import fastnet as fn

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 45),
    inputs=st.integers(1, 17),
    units=st.integers(1, 17),
    shuffle=st.booleans(),
    weighted=st.booleans(),
)
def test_steps_of_any_size_are_gradient_steps_on_their_rows(
    backend, rows, batch_size, inputs, units, shuffle, weighted
):
    network = fn.Network(inputs, [fn.Dense(units, "tanh"), fn.Dense(1)])
    x, y = rows_for(network, rows)
    weight = weights_for(rows) if weighted else None
    model, by_hand = (fn.Model(network, backend=backend, dtype="float64", seed=2) for _ in "ab")
    model.fit(
        x, y, optimizer=fn.SGD(0.1), epochs=2, batch_size=batch_size, shuffle=shuffle,
        sample_weight=weight,
    )  # fmt: skip
    for epoch in range(2):
        order = np.arange(rows)
        if shuffle and batch_size < rows:
            order = fn.random.permutation(2, fn.random.SHUFFLE, epoch, rows)
        for start in range(0, rows, batch_size):
            batch = order[start : start + batch_size]
            part = None if weight is None else weight[batch]
            if part is not None and not part.any():
                continue  # a batch whose weights are all zero teaches nothing
            by_hand.parameters.flat[...] -= (
                0.1 * by_hand.loss_and_gradient(x[batch], y[batch], part)[1]
            )
    assert_near(model.parameters.flat, by_hand.parameters.flat, 10 * FORWARD["float64"])


SMALL = st.integers(1, 9)


@hypothesis.settings(max_examples=40)
@hypothesis.given(
    inputs=SMALL,
    hidden=st.lists(SMALL, max_size=3),
    outputs=SMALL,
    rows=st.integers(1, 17),
    pair=st.sampled_from([(fn.Identity(), fn.MSE()), (fn.Tanh(), fn.Huber()), *FUSED]),
    weighted=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_shape_has_the_exact_gradient(
    backend, inputs, hidden, outputs, rows, pair, weighted, bias, seed
):
    output, loss = pair
    outputs += output == fn.Softmax()  # which is over two units or more
    layers = [fn.Dense(units, "sigmoid", bias=bias) for units in hidden]
    network = fn.Network(inputs, [*layers, fn.Dense(outputs, output)], loss)
    x, y = rows_for(network, rows, seed)
    weight = weights_for(rows, seed) if weighted else None
    assert_model_gradient(float64_model(network, backend, seed), x, y, weight, l2=0.1)
