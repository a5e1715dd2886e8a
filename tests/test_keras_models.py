"""Keras's models and the graphs that it exports: fastnet predicts what they compute."""

import os

import numpy as np
import pytest
from foreign import ROWS, agree

import fastnet as fn

#: The exporters of Keras and PyTorch warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def keras():
    if "KERAS_BACKEND" not in os.environ:
        pytest.importorskip("torch", reason="PyTorch, on which Keras shall run, is not installed")
        os.environ["KERAS_BACKEND"] = "torch"
    state = np.random.get_state()  # which Keras draws from
    yield pytest.importorskip("keras", reason="Keras is not installed")
    np.random.set_state(state)


def sequential(keras, *layers, inputs=6):
    return keras.Sequential([keras.Input((inputs,)), *layers])


def chains(keras):
    """Models of Keras that are chains of dense layers."""
    kinds = keras.layers
    for name in ("linear", "relu", "leaky_relu", "elu", "selu", "softplus", "silu", "swish", "gelu",
                 "sigmoid", "tanh"):  # fmt: skip
        yield sequential(keras, kinds.Dense(5, activation=name), kinds.Dense(2))
    scaled = kinds.Normalization()
    scaled.adapt(ROWS + 50)
    yield sequential(keras, scaled, kinds.Dense(4), kinds.LeakyReLU(), kinds.Dense(3, "softmax"))
    yield sequential(
        keras, kinds.Rescaling(0.1, -1), kinds.Dense(3, use_bias=False), kinds.Softmax()
    )
    yield sequential(keras, kinds.Dense(2), kinds.ReLU(negative_slope=0.1))
    yield sequential(keras, kinds.Dense(2), kinds.ELU(0.5), kinds.Dropout(0.5), kinds.Dense(1))
    yield sequential(keras, sequential(keras, kinds.Dense(6, "relu")), kinds.Dense(1, "sigmoid"))
    start = keras.Input((6,))
    hidden = kinds.Activation("elu")(kinds.Dense(4)(start))
    yield keras.Model(start, kinds.Dense(1)(kinds.Dropout(0.1)(hidden)))
    yield sequential(keras, kinds.Dense(4), kinds.BatchNormalization(scale=False), kinds.PReLU(),
                     kinds.Dense(2))  # fmt: skip


def residual(keras):
    """A model with sums x + f(x), one of them in another."""
    kinds, start = keras.layers, keras.Input((6,))
    hidden = kinds.Dense(4, "relu")(start)
    block = sequential(keras, kinds.LayerNormalization(), kinds.Dense(7, "gelu"), kinds.Dense(4),
                       inputs=4)  # fmt: skip
    hidden = kinds.Add()([block(hidden), hidden])
    deep = kinds.Dense(4)(kinds.LayerNormalization(center=False)(hidden))
    hidden = kinds.Add()([hidden, kinds.Add()([deep, kinds.Dense(4, "tanh")(deep)])])
    return keras.Model(start, kinds.Dense(3)(hidden))


def randomized(model):
    """The model with parameters that are nowhere where they start."""
    generator = np.random.default_rng(1)
    model.set_weights([generator.uniform(0.2, 1, one.shape) for one in model.get_weights()])
    return model


def test_models_of_keras(keras):
    for given in map(randomized, [*chains(keras), residual(keras)]):
        found = fn.from_keras(given, backend="numpy")
        agree(found.predict(ROWS), given.predict(ROWS, verbose=0))
    flat = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    found = fn.from_keras(flat, backend="numpy")
    agree(found.predict(ROWS), flat.predict(ROWS.reshape(-1, 2, 3), verbose=0))
    mixed = sequential(keras, keras.layers.Dense(2, dtype="float64"))
    kernel = keras.ops.convert_to_numpy(mixed.layers[0].kernel)  # on JAX, float32 all the same
    assert fn.from_keras(mixed, backend="numpy").dtype == kernel.dtype


def test_graphs_that_keras_exports(keras, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras exports to ONNX on PyTorch; other backends need more packages")
    for given in map(randomized, chains(keras)):
        wanted = given.predict(ROWS, verbose=0)
        given.export(str(tmp_path / "model.onnx"), format="onnx", verbose=False)
        agree(fn.from_onnx(tmp_path / "model.onnx", backend="numpy").predict(ROWS), wanted)


def test_unsupported_models_are_refused_by_name(keras):
    kinds = keras.layers
    start, twice = keras.Input((6,)), kinds.Dense(6)

    class Own(keras.Model):
        def call(self, x):
            return x

    own = Own()
    own(ROWS)
    for given, message in (
        (sequential(keras, kinds.Dense(2), kinds.GroupNormalization(1)), r"\(GroupNormalization\)"),
        (sequential(keras, kinds.Dense(2), kinds.LayerNormalization(rms_scaling=True)), "moments"),
        (keras.Model(start, kinds.Add()([twice(start), kinds.Dense(6)(start)])), "not a chain"),
        (sequential(keras, kinds.Dense(2, activation=lambda z: -z)), "activation '<lambda>'"),
        (sequential(keras, kinds.Dense(2), kinds.ReLU(max_value=6)), r"\(ReLU\).*settings"),
        (sequential(keras, kinds.Dense(2, dtype="mixed_bfloat16")), "computes in mixed_bfloat16"),
        (keras.Sequential([keras.Input((4, 6)), kinds.Dense(2)]), "put a Flatten before it"),
        (keras.Model(start, kinds.Add()([start, kinds.Dropout(0.5)(start)])), "no dense layer"),
        (keras.Model(start, twice(twice(start))), "not a chain"),
        (keras.Model(start, [kinds.Dense(1)(start), kinds.Dense(1)(start)]), "not a chain"),
        (keras.Sequential([kinds.Dense(2)]), "not built"),
        (own, "call of its own"),
        (3, "model is <class 'int'>"),
    ):
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_keras(given, backend="numpy")
