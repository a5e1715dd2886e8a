"""The tables of activations of each library have one row for each activation."""

import pytest

import fastnet as fn
from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.interchange import keras_models, onnx_activations, torch_modules
from fastnet.interchange.chain import row_of

#: Activations with parameters of their own, which writers refuse by name.
LEARNED = {"prelu", "parametric"}


@pytest.mark.parametrize(
    "rows",
    [onnx_activations.ROWS, torch_modules.ROWS, keras_models.ROWS],
    ids=["onnx", "torch", "keras"],
)
def test_every_activation_has_a_row(rows):
    assert rows.keys() == ACTIVATIONS.keys() - LEARNED


def test_an_activation_without_a_row_is_refused_by_name():
    class Snake(Activation):
        name = "snake"

    with pytest.raises(fn.DefinitionError, match=r"cannot write activation 'snake' for ONNX.*gelu"):
        row_of(onnx_activations.ROWS, Snake(), "ONNX")
