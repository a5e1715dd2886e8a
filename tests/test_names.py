"""Names that other libraries have: understood where only the spelling differs, else suggested."""

import numpy as np
import pytest

import fastnet as fn
from fastnet import migrations, tables
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.losses import LOSSES
from fastnet.definition.named import resolve
from fastnet.definition.optimizers import OPTIMIZERS
from fastnet.definition.schedules import SCHEDULES

NETWORK = fn.Network(2, [fn.Dense(1)])
MODEL = fn.Model(NETWORK, backend="numpy", seed=1)
X, Y = np.zeros((3, 2)), np.zeros(3)


@pytest.mark.parametrize(
    ("kind", "known", "given", "name"),
    [
        ("activation", ACTIVATIONS, "ReLu", "relu"),
        ("activation", ACTIVATIONS, "LeakyReLU", "leaky_relu"),
        ("optimizer", OPTIMIZERS, "Adam", "adam"),
        ("optimizer", OPTIMIZERS, "L-BFGS", "lbfgs"),
        ("loss", LOSSES, "cross_entropy", "crossentropy"),
        ("loss", LOSSES, "BinaryCrossEntropy", "binary_crossentropy"),
        ("schedule", SCHEDULES, "OneCycle", "one_cycle"),
    ],
)
def test_spelling_does_not_matter(kind, known, given, name):
    constants = {"rate": 0.1} if known is SCHEDULES else {}
    assert resolve(kind, known, {"name": given, **constants}).name == name


@pytest.mark.parametrize(
    ("kind", "known", "given", "meant"),
    [
        ("loss", LOSSES, "bce", "binary_crossentropy"),
        ("loss", LOSSES, "categorical_crossentropy", "crossentropy"),
        ("loss", LOSSES, "sparse_categorical_crossentropy", "crossentropy"),
        ("loss", LOSSES, "mean_squared_error", "mse"),
        ("loss", LOSSES, "SmoothL1", "huber"),
        ("activation", ACTIVATIONS, "swish", "silu"),
        ("activation", ACTIVATIONS, "logistic", "sigmoid"),
        ("activation", ACTIVATIONS, "linear", "identity"),
        ("optimizer", OPTIMIZERS, "adm", "adam"),
    ],
)
def test_another_name_is_suggested(kind, known, given, meant):
    with pytest.raises(
        fn.DefinitionError, match=f"unknown {kind} '{given}'; did you mean '{meant}'"
    ):
        resolve(kind, known, given)


FIT = [
    ({"lr": 0.1}, r"belongs to an optimizer that has one, as in optimizer=fn\.Adam"),
    ({"learning_rate": 0.1}, "belongs to an optimizer that has one"),
    ({"verbose": 1}, "did you mean 'progress'"),
    ({"validation_split": 0.2}, "did you mean 'validation'"),
    ({"validation_data": (X, Y)}, "did you mean 'validation'"),
    ({"label_smoothing": 0.1}, r"loss=fn.Crossentropy\(label_smoothing=0.1"),
    ({"n_epochs": 3}, "did you mean 'epochs'"),
    ({"batchsize": 3}, "did you mean 'batch_size'"),
    ({"patience": 3}, "did you mean 'early_stopping'"),
    ({"loss": "mse"}, r"belongs to the network: fn\.Network"),
    ({"weight_decay": 0.1}, r"optimizer=fn\.AdamW"),
    ({"nonsense": 1}, "it takes x, y, optimizer, epochs,"),
]


@pytest.mark.parametrize(("options", "says"), FIT, ids=[next(iter(given)) for given, _ in FIT])
def test_an_argument_that_fit_does_not_have(options, says):
    name = next(iter(options))
    with pytest.raises(fn.ArgumentError, match=f"fit has no argument '{name}'; .*{says}"):
        MODEL.fit(X, Y, **options)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fn.Adam(lr=1e-3), r"fn\.Adam has no argument 'lr'; did you mean 'learning_rate'"),
        (lambda: fn.AdamW(beta_1=0.9), "did you mean 'beta1'"),
        (lambda: fn.LBFGS(lr=1), "belongs to an optimizer that has one"),
        (lambda: fn.SGD(eps=1), r"fn\.SGD has no argument 'eps'; it takes learning_rate, mom"),
        (lambda: fn.ReLU(slope=1), "it takes none"),
        (lambda: fn.Cosine(learning_rate=1), "did you mean 'rate'"),
        (lambda: fn.Dense(3, act="relu"), "did you mean 'activation'"),
        (lambda: fn.Dense(3, input_shape=(2,)), r"the network has it: fn\.Network\(inputs"),
        (lambda: fn.Model(NETWORK, random_state=1), "did you mean 'seed'"),
        (lambda: fn.Model(NETWORK, loss="mse"), "belongs to the network"),
        (lambda: fn.Network([fn.Dense(1)]), r"'layers'; the number of inputs comes first"),
        (lambda: fn.EarlyStopping(monitor="loss"), "it takes patience, min_delta, restore_best"),
        (lambda: tables.Recipe(n_epochs=3), r"tables\.Recipe has no .*did you mean 'epochs'"),
        (lambda: tables.Recipe(hidden_layer_sizes=(3,)), "did you mean 'hidden'"),
        (lambda: tables.train({}, "y", epochs=3), r"give tables\.Recipe\(epochs=\.\.\.\)\."),
        (lambda: tables.cross_validate({}, "y", fold=3), "did you mean 'folds'"),
        (lambda: tables.train({}, "y", verbosity=3), "it takes source, target, recipe"),
        (lambda: fn.Dense(), r"fn\.Dense: missing a required argument: 'units'"),
    ],
)
def test_an_argument_that_does_not_fit(make, says):
    with pytest.raises(fn.ArgumentError, match=says):
        make()


class Lifted(fn.LeakyReLU):
    """A user's class, with one field more."""

    offset: float = 0.0


class Half(fn.Dropout):
    """A user's class that makes a mistake of its own."""

    def __init__(self, units: int) -> None:
        super().__init__(rte=units / 2)


def test_a_users_class_has_its_own_name_and_arguments_in_errors():
    with pytest.raises(fn.ArgumentError, match=r"^Lifted has no .*'ofset'; did you mean 'offset'"):
        Lifted(ofset=1.0)
    with pytest.raises(fn.ArgumentError, match=r"^fn\.Dropout has no .*'rte'; did you mean 'rate'"):
        Half(1)


OLD = [
    (name, old, new)
    for name, renamed in migrations.RENAMED_IN_2.items()
    for old, new in [*renamed.items(), *([("shrink", "etas")] if name == "rprop" else [])]
]


@pytest.mark.parametrize(("name", "old", "new"), OLD)
def test_an_argument_of_an_earlier_version_has_a_new_name(name, old, new):
    known = {**SCHEDULES, **OPTIMIZERS}
    for make in (
        lambda: known[name](**{old: 1}),
        lambda: resolve("", known, {"name": name, old: 1}),
    ):
        with pytest.raises(fn.DefinitionError, match=f"did you mean '{new}'"):
            make()


def test_an_error_inside_of_a_call_stays_what_it_is():
    def callback(model, history):
        return len(3)

    with pytest.raises(TypeError, match="object of type 'int' has no len") as caught:
        MODEL.fit(X, Y, epochs=1, callbacks=[callback])
    assert not isinstance(caught.value, fn.FastnetError)


def test_classes_from_1_get_the_line_that_numbers_them():
    network = fn.Network(2, [fn.Dense(3, "softmax")], "crossentropy")
    with pytest.raises(fn.DataError, match=r"np\.unique\(y, return_inverse=True\)"):
        fn.Model(network, backend="numpy").fit(X, [1, 2, 3])
