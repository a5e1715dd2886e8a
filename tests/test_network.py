"""What a network is: frozen, comparable, printable, checked, and the same after JSON and TOML."""

# ruff: noqa: E501  (tables with one case a line)

import dataclasses
import math
import pickle
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnet as fn
from fastnet.contract.lowering import lower

FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=5e-324, max_value=1e308)
RATIO = st.floats(0, 1, exclude_min=True, exclude_max=True)
NOT_NEGATIVE = st.floats(min_value=0, max_value=1e308)

HIDDEN = st.one_of(
    st.sampled_from([
        fn.Identity(), fn.Sigmoid(), fn.Tanh(), fn.ReLU(), fn.SELU(), fn.Softplus(), fn.SiLU(),
        fn.GELU(), fn.GELU(approximate="tanh"),
    ]),
    st.builds(fn.LeakyReLU, NOT_NEGATIVE),
    st.builds(fn.ELU, NOT_NEGATIVE),
)  # fmt: skip

SMOOTHING = st.floats(0, 1, exclude_max=True)

FACTOR = st.one_of(st.just(1.0), NOT_NEGATIVE, st.tuples(NOT_NEGATIVE, NOT_NEGATIVE))
TRAINING = st.tuples(FACTOR, FACTOR, st.sampled_from([None, "ntk"]))

INITIALIZERS = st.one_of(
    st.sampled_from([
        "auto", "zeros", fn.GlorotUniform(), fn.GlorotNormal(), fn.HeUniform(), fn.HeNormal(),
        fn.LecunUniform(), fn.LecunNormal(), "data",
    ]),
    st.builds(fn.Normal, POSITIVE),
)  # fmt: skip

OUTPUTS = st.one_of(
    st.tuples(HIDDEN | st.just(fn.Softmax()), st.one_of(
        st.sampled_from([fn.MSE(), fn.MAE(), fn.Poisson(), fn.Poisson(log_input=False)]),
        st.builds(fn.Huber, POSITIVE), st.builds(fn.Quantile, RATIO),
        st.builds(fn.GaussianNLL, POSITIVE), st.just(fn.Quantile((0.1, 0.9))),
    )),
    st.tuples(st.just(fn.Sigmoid()), st.builds(fn.BinaryCrossentropy, SMOOTHING)),
    st.tuples(st.just(fn.Softmax()), st.builds(fn.Crossentropy, SMOOTHING)),
)  # fmt: skip


@st.composite
def networks(draw):
    width = inputs = draw(st.integers(1, 5))
    layers = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            layers.append(fn.Dropout(draw(st.floats(0, 1, exclude_max=True))))
        units, bias = draw(st.integers(1, 5)), draw(st.booleans())
        init = draw(INITIALIZERS)
        if draw(st.booleans()):
            numbers = st.lists(FINITE, min_size=units, max_size=units)
            init = draw(st.lists(numbers, min_size=width, max_size=width))
            if bias and draw(st.booleans()):
                init = (init, draw(numbers))
        layers.append(fn.Dense(units, draw(HIDDEN), bias, init, *draw(TRAINING)))
        width = units
    output, loss = draw(OUTPUTS)
    units = draw(st.integers(1, 2)) * max(loss.outputs_per_target, 2)
    layers.append(fn.Dense(units, output, draw(st.booleans())))
    return fn.Network(inputs, layers, loss)


@settings(max_examples=150)
@given(network=networks())
def test_a_network_is_the_same_after_json_and_toml(network):
    for other in (
        fn.Network.from_json(network.to_json()),
        fn.Network.from_toml(network.to_toml()),
        fn.Network.from_spec(network.spec()),
        eval(repr(network), vars(fn)),
    ):
        assert other == network
        assert hash(other) == hash(network)
        assert other.spec() == network.spec()
        assert str(other) == str(network)


def test_networks_that_differ_anywhere_are_not_equal():
    def make(
        inputs=2, units=3, activation="tanh", bias=True, init="auto", rate=0.5, loss="mse", **other
    ):
        layers = [fn.Dense(units, activation, bias, init, **other), fn.Dropout(rate), fn.Dense(1)]
        return fn.Network(inputs, layers, loss)

    variants = [
        make(), make(inputs=3), make(units=4), make(activation="relu"), make(bias=False),
        make(init="normal"), make(init=fn.Normal(2.0)), make(rate=0.4), make(loss="mae"),
        make(activation=fn.LeakyReLU()), make(activation=fn.LeakyReLU(slope=0.2)),
        make(loss=fn.Huber()), make(loss=fn.Huber(2.0)), make(init=[[0.0] * 3] * 2),
        make(init=([[0.0] * 3] * 2, [0.0] * 3)), make(learning_rate_factor=0.1),
        make(learning_rate_factor=(1, 0.1)), make(decay_factor=0.1), make(scaling="ntk"),
    ]  # fmt: skip
    assert len(set(variants)) == len(variants)
    assert make() == make()
    assert make() != "network"


def test_a_name_an_instance_a_class_and_a_table_mean_the_same():
    wanted = fn.Network(2, [fn.Dense(3, fn.LeakyReLU())], fn.Huber())
    for activation in ("leaky_relu", fn.LeakyReLU, {"name": "leaky_relu", "slope": 0.01}):
        for loss in ("huber", fn.Huber, {"name": "huber"}):
            assert fn.Network(2, [fn.Dense(3, activation)], loss) == wanted


def test_a_network_is_frozen():
    network = fn.Network(2, [fn.Dense(3, "leaky_relu")])
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.inputs = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.layers[0].units = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.layers[0].activation.slope = 3


def test_a_network_prints_as_a_table():
    layers = [fn.Dense(1000, "relu", bias=False), fn.Dropout(0.25), fn.Dense(1, "sigmoid")]
    network = fn.Network(20, layers, "binary_crossentropy")
    assert str(network).splitlines() == [
        "layer                     output shape  parameters",
        "--------------------------------------------------",
        "0 Dense relu, no bias     (rows, 1000)      20,000",
        "1 Dropout 0.25            (rows, 1000)           0",
        "2 Dense sigmoid           (rows, 1)          1,001",
        "--------------------------------------------------",
        "loss binary_crossentropy  inputs 20         21,001",
    ]


def test_toml_by_hand_is_read():
    network = fn.Network.from_toml("""
        inputs = 3
        loss = { name = "huber", delta = 2 }
        [[layers]]
        type = "dense"
        units = 4
        activation = "relu"
        [[layers]]
        type = "dropout"
        rate = 0
        [[layers]]
        type = "dense"
        units = 1
    """)
    layers = [fn.Dense(4, "relu"), fn.Dropout(0.0), fn.Dense(1)]
    assert network == fn.Network(3, layers, fn.Huber(2.0))
    assert tomllib.loads(network.to_toml())["inputs"] == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "a network is 3; it must be a table"),
        ("null", "a network is None"),
        ("{}", "a network has no"),
        ('{"inputs": 2}', "a network has no 'layers'"),
        ('{"inputs": 2, "layers": 3}', "layers is 3; it must be a list"),
        ('{"inputs": 2, "layers": []}', "at least one Dense layer"),
        ('{"inputs": 2, "layers": [], "los": 1}', "unknown key 'los'.*did you mean 'loss'"),
        ('{"inputs": 2, "layers": [{}]}', "layer 0: unknown type None"),
        ('{"inputs": 2, "layers": [{"type": "dens"}]}', "did you mean 'dense'"),
        ('{"inputs": 2, "layers": [{"type": ["dense"]}]}', "unknown type"),
        ('{"inputs": 2, "layers": [{"type": "dense"}]}', "layer 0 has no 'units'"),
        ('{"inputs": 2, "layers": [{"type": "dense", "units": "4"}]}', "units is '4'"),
        ('{"inputs": 2, "layers": [{"type": "dropout"}]}', "layer 0 has no 'rate'"),
        (
            '{"inputs": 2, "layers": [{"type": "dense", "units": 1, "activation": {"name": []}}]}',
            "unknown activation",
        ),
        (
            '{"inputs": 2, "layers": [{"type": "dense", "units": 1}], "loss": {"name": {}}}',
            "unknown loss",
        ),
        (
            '{"inputs": 2, "layers": [{"type": "dense", "units": 1, "init": "abc"}]}',
            "unknown initializer 'abc'",
        ),
        (
            '{"inputs": 2, "layers": [{"type": "dropout", "rate": NaN}, '
            '{"type": "dense", "units": 1}]}',
            "rate is nan",
        ),
    ],
)
def test_json_that_describes_no_network_is_refused(text, says):
    with pytest.raises(fn.DefinitionError, match=says):
        fn.Network.from_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [("inputs = ", "not TOML"), ("inputs = 2", "no 'layers'"), ("layers = 3\ninputs = 2", "list")],
)
def test_toml_that_describes_no_network_is_refused(text, says):
    with pytest.raises(fn.DefinitionError, match=says):
        fn.Network.from_toml(text)


REFUSED = [
    (lambda: fn.Dense(1, learning_rate_factor=-1), "learning_rate_factor is -1; it must be at le"),
    (lambda: fn.Dense(1, decay_factor=(1, 2, 3)), "decay_factor is .*must be a number, or a pair"),
    (lambda: fn.Dense(1, scaling="mup"), "scaling is 'mup'; it must be 'ntk', or be left out"),
    (lambda: fn.Network(2, [fn.Dense(3)], "gaussian_nll"),
     "loss 'gaussian_nll' has 2 outputs for each target, so .* a multiple of 2 units; it has 3"),
    (lambda: fn.Quantile((0.9, 0.1)), "several must be in increasing order, as"),
    (lambda: fn.Quantile(()), "several must be in increasing order, as"),
    (lambda: fn.Crossentropy(1), "crossentropy label_smoothing is 1; it must be at least 0 and"),
    (lambda: fn.Dense(0), r"units is 0; it must be 1 or more"),
    (lambda: fn.Dense(-3), "units is -3"),
    (lambda: fn.Dense(2.0), r"units is 2\.0; it must be a whole number"),
    (lambda: fn.Dense(True), "units is True"),
    (lambda: fn.Dense("4"), "units is '4'"),
    (lambda: fn.Dense(None), "units is None"),
    (lambda: fn.Dense(2, "rellu"), r"unknown activation 'rellu'; did you mean 'relu'\?.*Known: .*tanh"),
    (lambda: fn.Dense(2, "xyzzy"), r"unknown activation 'xyzzy'\. Known: elu"),
    (lambda: fn.Dense(2, 3), "unknown activation 3"),
    (lambda: fn.Dense(2, fn.MSE()), "unknown activation"),
    (lambda: fn.Dense(2, bias=1), "bias is 1; it must be True or False"),
    (lambda: fn.Dense(2, init="glorot"), "did you mean 'glorot_(uniform|normal)'"),
    (lambda: fn.Dense(2, init=[1.0, 2.0]), r"shape \(2,\); it must be \(inputs, units\)"),
    (lambda: fn.Dense(2, init=[[1.0, math.nan]]), "nan in row 0, column 1"),
    (lambda: fn.Dense(2, init=([[1.0, 2.0]], [1.0])), r"biases have shape \(1,\).*need \(2,\)"),
    (lambda: fn.Dense(2, bias=False, init=([[1.0, 2.0]], [1.0, 2.0])), "bias=False"),
    (lambda: fn.Dense(2, init=np.zeros((0, 2))), r"shape \(0, 2\)"),
    (lambda: fn.Dropout(1), "dropout rate is 1; it must be at least 0 and less than 1"),
    (lambda: fn.Dropout(-0.1), r"dropout rate is -0\.1"),
    (lambda: fn.Dropout(math.nan), "dropout rate is nan"),
    (lambda: fn.Dropout("0.5"), "dropout rate is '0.5'"),
    (lambda: fn.LeakyReLU(-1), "slope is -1"),
    (lambda: fn.ELU(math.inf), "alpha is inf; it must be finite and at least 0"),
    (lambda: fn.GELU("erf"), "approximate is 'erf'; it must be 'none' or 'tanh'"),
    (lambda: fn.Huber(0), "delta is 0.*greater than 0"),
    (lambda: fn.Quantile(1), "q is 1.*less than 1"),
    (lambda: fn.Poisson(1), "log_input is 1; it must be True or False"),
    (lambda: fn.Dense(2, {"name": "relu", 1: 2}), "activation 'relu' has no constant 1; it takes n"),
    (lambda: fn.Dense(2, "parametric"), r"missing a required argument: 'function'\.$"),
    (lambda: fn.Embed(np.ones((1, 2))), r"embed units is array.*must be a whole number"),
    (lambda: fn.Normal(0), "scale is 0"),
    (lambda: fn.Network(0, [fn.Dense(1)]), "inputs is 0"),
    (lambda: fn.Network(2.5, [fn.Dense(1)]), r"inputs is 2\.5"),
    (lambda: fn.Network(2, []), "at least one Dense layer; add"),
    (lambda: fn.Network(2, None), "layers is None; it must be a list"),
    (lambda: fn.Network(2, fn.Dense(1)), r"put it in a list"),
    (lambda: fn.Network(2, [fn.Dense(1), 3]), r"layer 1 is 3; it must be fn\.Dense"),
    (lambda: fn.Network(2, [fn.Dense]), "layer 0 is"),
    (lambda: fn.Network(2, [fn.Dense(1), fn.Dropout(0.5)]), "layer 1, the last, is Dropout"),
    (lambda: fn.Network(2, [fn.Dropout(0.5)]), "at least one Dense"),
    (lambda: fn.Network(2, [fn.Dense(3, "softmax"), fn.Dense(1)]), "layer 0 has softmax.*last layer only"),
    (lambda: fn.Network(2, [fn.Dense(1, "softmax")]), "softmax over one unit.*units=2.*sigmoid"),
    (lambda: fn.Network(2, [fn.Dense(1)], "mes"), r"unknown loss 'mes'; did you mean 'mse'\?"),
    (lambda: fn.Network(2, [fn.Dense(3)], "crossentropy"), r"'identity'; write Dense\(3, 'softmax'\)"),
    (lambda: fn.Network(2, [fn.Dense(1, "tanh")], "binary_crossentropy"), "sigmoid output"),
    (lambda: fn.Network(2, [fn.Dense(3, init=np.ones((3, 2)))]), r"weights \(3, 2\).*\(2, 3\)"),
    (lambda: fn.Network(2, [fn.Dense(3, init=np.ones((2, 4)))]), r"weights \(2, 4\).*\(2, 3\)"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), REFUSED, ids=[says[:40] for _, says in REFUSED])
def test_a_network_that_makes_no_sense_is_refused_with_the_remedy(make, says):
    with pytest.raises((fn.DefinitionError, fn.DataError), match=says) as caught:
        make()
    assert isinstance(caught.value, ValueError)


def test_numbers_of_numpy_are_constants_like_those_of_python():
    def made(number, whole, several, flag):
        layers = [
            fn.Embed(several([4, 5])),
            fn.Dropout(number(0.25)),
            fn.Dense(
                whole(2), fn.LeakyReLU(number(0.5)), flag(False), fn.Normal(number(0.5)),
                learning_rate_factor=several([2, 3]),
            ),
            fn.Dense(2, "sigmoid"),
        ]  # fmt: skip
        loss = fn.BinaryCrossentropy(number(0.25))
        return fn.Network(fn.Inputs(whole(1), several([3, 12])), layers, loss)

    network = made(float, int, tuple, bool)
    for number in (np.float16, np.float32, np.float64, np.longdouble):
        other = made(number, np.int32, np.array, np.bool_)
        assert other == network == fn.Network.from_json(other.to_json())
        assert other == fn.Network.from_toml(other.to_toml())
        assert repr(lower(other)) == repr(lower(network))
    assert fn.Quantile(np.array([0.25, 0.5])) == fn.Quantile((0.25, 0.5))
    assert fn.Rprop(etas=np.array([0.5, 1.5])) == fn.Rprop(etas=(0.5, 1.5))
    assert fn.SGD(0.1, 0.5, np.True_) == fn.SGD(0.1, 0.5, True)


def test_notebooks_show_tables(capsys):
    network = fn.Network(3, [fn.Dense(4, "relu"), fn.Dropout(0.5), fn.Dense(1)])
    model = fn.Model(network, backend="numpy", seed=1)
    model.summary()
    assert capsys.readouterr().out == f"{model!r}\n\n{network}\n"
    history = model.fit(np.zeros((5, 3)), np.ones(5), epochs=30, validation=0.2, metrics=["mae"])
    for one, holds in (
        (network, ["<th", "0 Dense relu", "(rows, 4)", ">16<", "loss mse"]),
        (model, ["Model(3 -&gt; 1, 21 parameters", "0 Dense relu"]),
        (history, ["validation_mae", ">1<", ">30<", f">{history.loss[-1]:.4g}<"]),
        (fn.History(), ["loss"]),
    ):
        text = one._repr_html_()
        assert all(part in text for part in holds), text
        assert text.count("<tr>") == text.count("</tr>") <= 12


def test_a_pickle_holds_what_was_given_alone():
    network = fn.Network(3, [fn.Dense(4, "relu"), fn.Residual([fn.Dense(4)]), fn.Dense(1)])
    before = pickle.dumps(network)
    assert network.outputs == 1
    fn.Model(network, backend="numpy")
    assert pickle.dumps(network) == before
    assert pickle.loads(before) == network
