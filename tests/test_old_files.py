"""Files of format 1, written by fastnet as it was on 2026-11-28: they load, and fits resume."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import fastnet as fn
from fastnet.definition.named import resolve
from fastnet.definition.optimizers import OPTIMIZERS
from fastnet.migrations import migrate

FILES = Path(__file__).parent / "files"


def test_a_model_of_format_1_predicts_what_it_did(backend):
    model = fn.load(FILES / "model-format-1.safetensors", backend=backend)
    assert model.seed == 2**63 + 5
    assert model.network == fn.Network(
        3,
        [
            fn.Dense(4, fn.LeakyReLU(0.25), init=fn.Normal(0.5)), fn.Dropout(0.25),
            fn.Dense(3, fn.GELU("tanh"), bias=False), fn.Dense(2, "selu", init="lecun_normal"),
            fn.Dense(2, "softmax", init=(np.array([[1, -0.5], [0.25, 2]]), np.array([0.5, -0.25]))),
        ],
        loss="crossentropy",
    )  # fmt: skip
    found = model.predict(np.array([[0.5, -1, 2], [1, 1, -1], [0, 0.25, 3]]))
    wanted = [
        [0.5048489241478609, 0.49515107585213924],
        [0.828580876971301, 0.17141912302869905],
        [0.5106479105240884, 0.4893520894759115],
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


#: All arithmetic of this fit is exact in float64, but for the last epoch's loss.
X = [[1, 2], [-1, 1], [2, -1], [0, 1], [1, -2], [-2, 0], [1, 1], [0, -1]]
Y = [1, 0, -1, 2, 1, 0, 1, -1]
RATE = fn.WarmUp(2, fn.Step(0.125, step_size=2, gamma=0.5), start_factor=0.5)


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copy(FILES / "checkpoint-format-1.safetensors", tmp_path / "checkpoint")


def resume(checkpoint, backend="numpy", **changes):
    network = fn.Network(2, [fn.Dense(1, init=np.array([[0.5], [-0.25]]))], loss="mse")
    model = fn.Model(network, backend=backend, dtype="float64", seed=7)
    options = {"optimizer": fn.SGD(RATE, momentum=0.5), "batch_size": 4, **changes}
    model.fit(X, Y, epochs=3, checkpoint=checkpoint, resume=True, **options)
    return model


def test_a_checkpoint_of_format_1_resumes_bit_for_bit(backend, checkpoint):
    model = resume(checkpoint, backend)
    wanted = ["0x1.c192a75000000p-5", "0x1.9e21a18800000p-2", "0x1.3fc4dc4400000p-2"]
    assert [value.hex() for value in model.parameters.flat.tolist()] == wanted
    losses = ["0x1.acfa000000000p+0", "0x1.f9e5b3f59c000p-1", "0x1.0fb4af75b9a7ep+0"]
    assert model.history.loss == pytest.approx(list(map(float.fromhex, losses)), rel=1e-12)
    assert resume(checkpoint, backend).history.loss == model.history.loss  # of format 2 by now


def test_a_checkpoint_of_format_1_is_of_its_own_fit_only(checkpoint):
    slower = fn.SGD(fn.WarmUp(2, fn.Step(0.125, step_size=2, gamma=0.4), 0.5), momentum=0.5)
    with pytest.raises(
        fn.ModelFileError, match=r"learning_rate then gamma was 0\.5, now it is 0\.4"
    ):
        resume(checkpoint, optimizer=slower)


PLATEAU = {"name": "reduce_on_plateau", "rate": 0.1, "factor": 0.5, "patience": 3, "least": 0.01,
           "min_delta": 0.001}  # fmt: skip

#: Optimizers as format 1 has them, and what they are.
OPTIMIZERS_OF_1 = [
    (
        {"name": "rmsprop", "decay": 0.9, "epsilon": 1e-7, "momentum": 0.5,
         "learning_rate": {"name": "one_cycle", "rate": 0.5, "up": 0.4, "divide": 10.0,
                           "final": 100.0, "epochs": None}},
        fn.RMSprop(fn.OneCycle(0.5, pct_start=0.4, div_factor=10.0, final_div_factor=100.0),
                   alpha=0.9, epsilon=1e-7, momentum=0.5),
    ),
    (
        {"name": "rprop", "learning_rate": 0.02, "grow": 1.3, "shrink": 0.4, "smallest": 1e-5,
         "largest": 20.0},
        fn.Rprop(0.02, etas=(0.4, 1.3), step_sizes=(1e-5, 20.0)),
    ),
    (
        {"name": "lion", "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1,
         "learning_rate": {"name": "warm_up", "epochs": 3, "then": PLATEAU, "start": 0.2}},
        fn.Lion(
            fn.WarmUp(
                3, fn.ReduceOnPlateau(0.1, 0.5, patience=3, min_lr=0.01, min_delta=0.001),
                start_factor=0.2,
            ),
            0.8, 0.9, 0.1,
        ),
    ),
    (
        {"name": "adagrad", "epsilon": 1e-10,
         "learning_rate": {"name": "cosine", "rate": 0.1, "end": 0.01, "epochs": 4}},
        fn.Adagrad(fn.Cosine(0.1, eta_min=0.01, epochs=4)),
    ),
    (
        {"name": "adagrad", "epsilon": 1e-10,
         "learning_rate": {"name": "exponential", "rate": 0.1, "factor": 0.9}},
        fn.Adagrad(fn.Exponential(0.1, gamma=0.9)),
    ),
    (
        {"name": "adagrad", "epsilon": 1e-10,
         "learning_rate": {"name": "inverse_scaling", "rate": 0.1, "power": 0.7}},
        fn.Adagrad(fn.InverseScaling(0.1, power_t=0.7)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "wanted"), OPTIMIZERS_OF_1, ids=lambda value: "")
def test_constants_of_format_1_have_their_new_names(old, wanted):
    facts, _ = migrate(1, "checkpoint", {"same": {"optimizer": old}}, {})
    found = facts["same"]["optimizer"]
    assert found == wanted.spec()
    assert resolve("optimizer", OPTIMIZERS, found) == wanted
    assert migrate(2, "checkpoint", facts, {})[0] == facts


@pytest.mark.parametrize(("momentum", "slots"), [(0.0, 0), (0.9, 1)])
def test_sgd_of_format_1_had_a_memory_without_momentum_too(momentum, slots):
    old = {"name": "sgd", "learning_rate": 0.1, "momentum": momentum, "nesterov": False}
    arrays = {"memory": np.ones((1, 5))}
    _, found = migrate(1, "checkpoint", {"same": {"optimizer": old}}, arrays)
    assert found["memory"].shape == (slots, 5)
