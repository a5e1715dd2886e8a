"""Layers that are no Dense: definition, files, names, and who refuses them."""

import numpy as np
import pytest
from graphs import MIXED, mixed
from samples import rows_for

import fastnet as fn
from fastnet.definition.layers import MOST_NESTED

NESTED = fn.Network(3, [
    fn.Dense(4), fn.LayerNorm(epsilon=1e-3), fn.ReLU(),
    fn.Residual([fn.Dense(4, init=np.eye(4)), fn.Residual([fn.Scale(), fn.Dropout(0.5)])]),
    fn.BatchNorm(), fn.Dense(2, fn.PReLU()),
])  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_a_definition_goes_through_json_and_toml(name):
    network = mixed(name)
    assert fn.Network.from_json(network.to_json()) == network
    assert fn.Network.from_toml(network.to_toml()) == network


def test_a_model_goes_through_a_file_with_its_nested_parameters(tmp_path):
    model = fn.Model(NESTED, backend="numpy", seed=2)
    found = fn.load(model.save(tmp_path / "model.safetensors"), backend="numpy")
    assert found.network == NESTED
    np.testing.assert_array_equal(found.parameters.flat, model.parameters.flat)


def test_parameters_are_named_by_the_places_of_their_layers():
    model = fn.Model(NESTED, backend="numpy")
    shapes = {name: array.shape for name, array in model.parameters.items()}
    assert shapes == {
        "0.weight": (3, 4), "0.bias": (4,), "1.scale": (4,), "1.shift": (4,),
        "3.0.weight": (4, 4), "3.0.bias": (4,), "3.1.0.scale": (4,),
        "4.scale": (4,), "4.shift": (4,), "5.weight": (4, 2), "5.bias": (2,), "5.alpha": (2,),
        "4.mean": (4,), "4.variance": (4,),
    }  # fmt: skip
    np.testing.assert_array_equal(model.parameters["1.scale"], np.ones(4, np.float32))
    np.testing.assert_array_equal(model.parameters["1.shift"], np.zeros(4, np.float32))
    np.testing.assert_array_equal(model.parameters["3.0.weight"], np.eye(4, dtype=np.float32))


def test_the_table_of_a_network_names_layers_in_blocks():
    lines = [" ".join(line.split()) for line in str(NESTED).splitlines()]
    assert lines[2:10] == [
        "0 Dense identity (rows, 4) 16",
        "1 LayerNorm (rows, 4) 8",
        "2 Activate relu (rows, 4) 0",
        "3 Residual (rows, 4) 0",
        "3.0 Dense identity (rows, 4) 20",
        "3.1 Residual (rows, 4) 0",
        "3.1.0 Scale (rows, 4) 4",
        "3.1.1 Dropout 0.5 (rows, 4) 0",
    ]
    assert lines[10:12] == ["4 BatchNorm (rows, 4) 16", "5 Dense prelu (rows, 2) 12"]
    assert lines[-1].endswith(" 76")


def test_layers_in_blocks_start_and_drop_by_streams_of_their_own():
    block = [fn.Dense(3), fn.Residual([fn.Dense(3), fn.Dense(3)]), fn.Dense(3)]
    weights = fn.Model(fn.Network(3, block), backend="numpy", seed=1).parameters
    drawn = [weights[f"{name}.weight"] for name in ("0", "1.0", "1.1", "2")]
    for index, one in enumerate(drawn):
        assert all((one != other).any() for other in drawn[index + 1 :])
    plain = fn.Model(fn.Network(3, [fn.Dense(3)] * 3), backend="numpy", seed=1).parameters
    np.testing.assert_array_equal(weights["0.weight"], plain["0.weight"])
    np.testing.assert_array_equal(weights["2.weight"], plain["2.weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fn.Residual([fn.Dense(4)]), r"layer 0, a Residual, adds 4 outputs .* 3 inputs; "
         r"end it with a layer of 3 units, such as fn\.Dense\(3\)"),
        (lambda: fn.Residual([fn.Residual([fn.Dense(2)])]), r"layer 0\.0, a Residual, adds 2"),
        (lambda: fn.Residual([]), "a Residual has no layers"),
        (lambda: fn.Residual(fn.Dense(3)), "layers is one Dense"),
        (lambda: fn.Residual([3]), r"layer 0 is 3; it must be fn\.Dense.*fn\.Residual"),
        (lambda: fn.Residual([fn.Dense(3, "softmax")]), r"layer 0\.0 has softmax"),
        (lambda: fn.Residual([fn.Dense(3, init=np.eye(2))]), r"layer 0\.0 starts from weights"),
        (lambda: fn.Activate("relv"), "unknown activation 'relv'; did you mean 'relu'"),
        (lambda: fn.LayerNorm(0), "layer_norm epsilon is 0"),
        (lambda: fn.LayerNorm(eps=0.1), "did you mean 'epsilon'"),
        (lambda: fn.BatchNorm(momentum=0), "batch_norm momentum is 0"),
        (lambda: fn.BatchNorm(momentum=1.5), "batch_norm momentum is 1.5"),
        (lambda: fn.Parametric("softmax"), "parametric function is 'softmax'"),
        (lambda: fn.Parametric(fn.PReLU()), "parametric function is 'prelu'"),
        (lambda: fn.Parametric(), "missing"),
        (lambda: fn.Dense(3, "parametric"), "parametric.*function"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused(make, message):
    with pytest.raises(fn.FastnetError, match=message):
        fn.Network(3, [make(), fn.Dense(1)])


def test_a_network_needs_a_dense_layer_and_no_softmax_of_one_unit():
    with pytest.raises(fn.DefinitionError, match="at least one Dense layer"):
        fn.Network(3, [fn.Residual([fn.Scale()])])
    with pytest.raises(fn.DefinitionError, match="softmax over one unit"):
        fn.Network(3, [fn.Dense(1), fn.Softmax()], "crossentropy")
    with pytest.raises(fn.DefinitionError, match="layer 1 has softmax"):
        fn.Network(3, [fn.Dense(2), fn.Softmax(), fn.Dense(2)])


def test_what_has_more_blocks_in_blocks_than_a_file_may_hold_is_refused(tmp_path):
    spec, block = {"type": "scale"}, fn.Scale()
    for _ in range(MOST_NESTED):
        spec, block = {"type": "residual", "layers": [spec]}, fn.Residual([block])
    last = {"type": "dense", "units": 1}
    network = fn.Network(2, [block, fn.Dense(1)])
    assert fn.load(fn.Model(network, backend="numpy").save(tmp_path / "m")).network == network
    spec = {"type": "residual", "layers": [spec]}
    for make in (
        lambda: fn.Network(2, [fn.Residual([block]), fn.Dense(1)]),
        lambda: fn.Network.from_spec({"inputs": 2, "layers": [spec, last]}),
    ):
        with pytest.raises(fn.DefinitionError, match=f"more than {MOST_NESTED} residual blocks"):
            make()


def test_a_network_with_batch_norm_refuses_lbfgs():
    model = fn.Model(NESTED, backend="numpy")
    x, y = rows_for(NESTED, 20)
    with pytest.raises(fn.DefinitionError, match="needs the same loss at every call"):
        model.fit(x, y, optimizer="lbfgs", epochs=1)


def test_statistics_stand_last_and_a_checkpoint_continues_with_them(tmp_path):
    network = fn.Network(3, [fn.Dense(4), fn.BatchNorm(), fn.Dense(2)])
    x, y = rows_for(network, 40)
    whole, cut = (fn.Model(network, backend="numpy", seed=1) for _ in range(2))
    assert list(whole.parameters)[-2:] == ["1.mean", "1.variance"]
    whole.fit(x, y, epochs=4)
    path = tmp_path / "checkpoint.safetensors"
    cut.fit(x, y, epochs=2, checkpoint=path)
    again = fn.Model(network, backend="numpy", seed=1)
    again.fit(x, y, epochs=4, checkpoint=path, resume=True)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)


def test_an_activation_first_leaves_the_users_rows_alone():
    network = fn.Network(3, [fn.ReLU(), fn.Dense(2)])
    x, y = rows_for(network, 20)
    model = fn.Model(network, backend="numpy", dtype="float64")
    before = x.copy()
    model.predict(x[:3])
    model.fit(x, y, epochs=1, batch_size=None)
    model.fit(x, y, epochs=1, batch_size=5, shuffle=False)
    np.testing.assert_array_equal(x, before)
