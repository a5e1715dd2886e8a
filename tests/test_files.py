"""Model files: what is saved comes back; what is damaged, foreign or hostile does not load."""

import json
import os

import numpy as np
import pytest
from compare import assert_same_bits
from forging import forged, reforged
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from samples import rows_for

import fastnet as fn
from fastnet.definition.network import attach

EVERY_KIND = fn.Network(
    3,
    [
        fn.Dropout(0.1),
        fn.Dense(4, fn.LeakyReLU(slope=0.2), bias=False),
        fn.Dropout(0.25),
        fn.Dense(2, fn.GELU(approximate="tanh"), init=(np.full((4, 2), 0.1), [1e-300, -2.5])),
        fn.Dense(2, fn.ELU(alpha=0.3), init=fn.Normal(scale=0.7)),
        fn.Dense(3, "softmax"),
    ],
    "crossentropy",
)
SMALL = fn.Network(1, [fn.Dense(1)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", [EVERY_KIND, SMALL], ids=["every_kind", "small"])
def test_a_saved_model_comes_back_bit_for_bit(backend, tmp_path, network, dtype):
    model = fn.Model(network, backend=backend, dtype=dtype, seed=2**63 + 5)
    x, y = rows_for(network, 8)
    model.fit(x, y, epochs=2)
    path = model.save(tmp_path / "model.safetensors")
    found = fn.load(path, backend=backend)
    assert (found.network, found.dtype, found.seed) == (network, dtype, 2**63 + 5)
    assert found.backend == backend
    assert found.history is None
    assert_same_bits(found.parameters.flat, model.parameters.flat)
    assert_same_bits(found.predict(x), model.predict(x))
    found.fit(x, y, epochs=2)
    found.save(path)
    assert_same_bits(fn.load(path, backend=backend).parameters.flat, found.parameters.flat)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_anyones_safetensors_reader_reads_the_named_arrays(tmp_path):
    model = fn.Model(EVERY_KIND, backend="numpy", seed=1)
    path = model.save(str(tmp_path / "model.safetensors"))
    with safe_open(path, "np") as file:
        held = {name for name in file.keys() if ".init." not in name}  # noqa: SIM118
        assert held == set(model.parameters) == {
            "1.weight", "3.weight", "3.bias", "4.weight", "4.bias", "5.weight", "5.bias",
        }  # fmt: skip
        for name, array in model.parameters.items():
            assert_same_bits(file.get_tensor(name), array)
        head = json.loads(file.metadata()["fastnet"])
        initial = {name: file.get_tensor(name) for name in file.keys() if ".init." in name}  # noqa: SIM118
    spec = head["facts"]["network"]
    attach(spec, initial)
    assert fn.Network.from_spec(spec) == EVERY_KIND
    assert not initial


def test_large_initial_weights_do_not_stand_in_the_header(tmp_path):
    start = np.random.default_rng(0).standard_normal((700, 700))
    network = fn.Network(700, [fn.Dense(700, init=start)])
    path = fn.Model(network, backend="numpy").save(tmp_path / "model")
    assert int.from_bytes(path.read_bytes()[:8], "little") < 2_000
    assert fn.load(path, backend="numpy").network == network


def test_saving_the_same_model_twice_gives_the_same_bytes(tmp_path):
    model = fn.Model(EVERY_KIND, backend="numpy", seed=1)
    first, second = (model.save(tmp_path / name).read_bytes() for name in "ab")
    assert first == second


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a small model's file."""
    path = tmp_path_factory.mktemp("whole") / "model"
    fn.Model(fn.Network(2, [fn.Dense(1, "tanh")]), backend="numpy", seed=1).save(path)
    return path.read_bytes()


def assert_refused(path, content, says=None):
    path.write_bytes(content)
    with pytest.raises(fn.ModelFileError, match=says):
        fn.load(path, backend="numpy")


def test_no_byte_can_change_unnoticed(whole, tmp_path):
    path = tmp_path / "model"
    generator = np.random.default_rng(0)
    for place in range(len(whole)):
        damaged, change = bytearray(whole), 1 << int(generator.integers(8))
        damaged[place] ^= change
        path.write_bytes(damaged)
        try:
            fn.load(path, backend="numpy")
        except fn.ModelFileError:
            continue
        pytest.fail(f"byte {place} changed by {change:#x} and the file still loads")


def test_a_file_that_was_cut_short_or_grew_is_refused(whole, tmp_path):
    for length in range(len(whole)):
        assert_refused(tmp_path / "model", whole[:length])
    assert_refused(tmp_path / "model", whole + b"\0")
    assert_refused(tmp_path / "model", whole + whole)


@settings(max_examples=100)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path, content):
    assert_refused(tmp_path / "model", content, "not a fastnet file")


@settings(max_examples=100)
@given(text=st.text(max_size=100), length=st.integers(0, 2**64 - 1) | st.none())
def test_random_headers_are_refused(tmp_path, text, length):
    header = text.encode("utf-8", "surrogatepass")
    length = len(header) if length is None else length
    assert_refused(tmp_path / "model", length.to_bytes(8, "little") + header)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"0.weight": np.ones((2, 1), np.float32)}, tmp_path / "foreign")
    with pytest.raises(fn.ModelFileError, match=r"foreign.*not a fastnet file"):
        fn.load(tmp_path / "foreign")


def test_a_newer_format_is_refused_with_the_way_to_upgrade(whole, tmp_path):
    newer = reforged(whole, lambda head: head.update(format=3))
    assert_refused(tmp_path / "model", newer, r"format 3.*reads up to 2: use the fastnet")


def test_a_checkpoint_is_no_model_and_a_model_no_checkpoint(tmp_path):
    model = fn.Model(SMALL, backend="numpy", seed=1)
    x, y = rows_for(SMALL, 4)
    model.fit(x, y, epochs=1, checkpoint=tmp_path / "checkpoint")
    with pytest.raises(fn.ModelFileError, match="holds a checkpoint, not a model"):
        fn.load(tmp_path / "checkpoint")
    model.save(tmp_path / "model")
    with pytest.raises(fn.ModelFileError, match="holds a model, not a checkpoint"):
        model.fit(x, y, epochs=1, checkpoint=tmp_path / "model", resume=True)


def with_network(**changes):
    return lambda head: head["facts"]["network"].update(changes)


def with_layer(**changes):
    return lambda head: head["facts"]["network"]["layers"][0].update(changes)


def with_facts(**changes):
    return lambda head: head["facts"].update(changes)


def without(key):
    return lambda head: head["facts"].pop(key)


HOSTILE = {
    "no_facts": lambda head: head.pop("facts"),
    "facts_null": lambda head: head.update(facts=None),
    "facts_list": lambda head: head.update(facts=[1]),
    "facts_text": lambda head: head.update(facts="network"),
    "kind_missing": lambda head: head.pop("kind"),
    "kind_number": lambda head: head.update(kind=1),
    "format_text": lambda head: head.update(format="1"),
    "format_missing": lambda head: head.pop("format"),
    "no_network": without("network"),
    "no_dtype": without("dtype"),
    "no_seed": without("seed"),
    "network_null": with_facts(network=None),
    "network_list": with_facts(network=[]),
    "network_text": with_facts(network="dense"),
    "network_empty": with_facts(network={}),
    "dtype_text": with_facts(dtype="complex64"),
    "dtype_other": with_facts(dtype="float64"),
    "dtype_list": with_facts(dtype=[]),
    "dtype_table": with_facts(dtype={}),
    "dtype_table_of_names": with_facts(dtype={"names": 1}),
    "dtype_null": with_facts(dtype=None),
    "seed_negative": with_facts(seed=-1),
    "seed_text": with_facts(seed="1"),
    "seed_fraction": with_facts(seed=1.5),
    "seed_huge": with_facts(seed=2**64),
    "seed_null": with_facts(seed=None),
    "inputs_zero": with_network(inputs=0),
    "inputs_other": with_network(inputs=3),
    "inputs_huge": with_network(inputs=10**30),
    "inputs_null": with_network(inputs=None),
    "loss_unknown": with_network(loss="nonsense"),
    "loss_list": with_network(loss=[1, 2]),
    "loss_needs_another_output": with_network(loss="crossentropy"),
    "layers_empty": with_network(layers=[]),
    "layers_null": with_network(layers=None),
    "layers_of_numbers": with_network(layers=[1, 2]),
    "more_keys": with_network(surprise=1),
    "units_huge": with_layer(units=10**18),
    "units_beyond_memory": with_layer(units=2**40),
    "units_whose_product_overflows": with_layer(units=2**63),
    "units_beyond_all": with_layer(units=10**400),
    "units_fraction": with_layer(units=1.5),
    "units_true": with_layer(units=True),
    "units_null": with_layer(units=None),
    "type_unknown": with_layer(type="convolution"),
    "type_list": with_layer(type=["dense"]),
    "activation_unknown": with_layer(activation="swash"),
    "activation_list": with_layer(activation=["tanh"]),
    "activation_name_list": with_layer(activation={"name": ["tanh"]}),
    "activation_name_null": with_layer(activation={"name": None}),
    "activation_constant_unknown": with_layer(activation={"name": "tanh", "slope": 1}),
    "activation_constant_text": with_layer(activation={"name": "elu", "alpha": "big"}),
    "activation_constant_huge": with_layer(activation={"name": "elu", "alpha": 10**400}),
    "activation_constant_nan": with_layer(activation={"name": "elu", "alpha": float("nan")}),
    "approximate_list": with_layer(activation={"name": "gelu", "approximate": []}),
    "bias_text": with_layer(bias="yes"),
    "init_ragged": with_layer(init={"name": "arrays", "weights": [[1.0], [2.0, 3.0]]}),
    "init_empty": with_layer(init={"name": "arrays", "weights": []}),
    "init_hollow": with_layer(init={"name": "arrays", "weights": [[], []]}),
    "init_text": with_layer(init={"name": "arrays", "weights": "all"}),
    "init_table": with_layer(init={"name": "arrays", "weights": {"a": 1}}),
    "init_missing": with_layer(init={"name": "arrays"}),
    "init_huge": with_layer(init={"name": "arrays", "weights": [[10**400], [1.0]]}),
    "init_null": with_layer(init=None),
    "dropout_last": with_network(layers=[{"type": "dropout", "rate": 0.5}]),
}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.onnx", b"\x08\x08\x12", r"an ONNX file: fn\.from_onnx\(path\) reads it"),
        ("m.pt", b"PK\x03\x04....", r"of PyTorch: fn\.from_torch"),
        ("m", b"PK\x03\x04....", r"of PyTorch: fn\.from_torch"),
        ("m.keras", b"PK\x03\x04....", r"a Keras model: fn\.from_keras"),
        ("m.pkl", b"\x80\x04K\x03.", r"a pickle: fn\.from_sklearn"),
        ("m.csv", b"a,b\n1,2\n", "a table: the model is another file"),
        ("m", b"", r"was cut short\.$"),
    ],
)
def test_a_file_of_another_program_is_named(tmp_path, name, content, says):
    assert_refused(tmp_path / name, content, says)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_with_a_right_digest_and_nonsense_inside_is_refused(whole, tmp_path, name):
    assert_refused(tmp_path / "model", reforged(whole, HOSTILE[name]))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"0.weight": np.ones((2, 1), np.float32)},
        {"0.weight": np.ones((1, 2), np.float32), "0.bias": np.ones(1, np.float32)},
        {"0.weight": np.ones((2, 1), np.float64), "0.bias": np.ones(1, np.float32)},
        {"0.weight": np.ones((2, 1), np.int32), "0.bias": np.ones(1, np.float32)},
        {"0.weight": np.ones((2, 1), np.float32), "0.bias": np.ones((), np.float32)},
        {"0.weight": np.ones((2, 1), np.float32), "0.bias": np.ones(0, np.float32)},
        {
            "0.weight": np.ones((2, 1), np.float32),
            "0.bias": np.ones(1, np.float32),
            "1.bias": np.ones(1, np.float32),
        },
    ],
    ids=["none", "one_missing", "turned", "other_dtype", "integers", "scalar", "hollow", "more"],
)  # fmt: skip
def test_a_file_with_a_right_digest_and_other_arrays_is_refused(whole, tmp_path, arrays):
    assert_refused(tmp_path / "model", reforged(whole, lambda head: None, arrays))


def test_a_file_forged_without_change_does_load(whole, tmp_path):
    (tmp_path / "model").write_bytes(reforged(whole, lambda head: None))
    fn.load(tmp_path / "model", backend="numpy")


@pytest.mark.parametrize(
    "digest", ["\ud800" * 64, "0" * 64, "é" * 64, "A" * 63 + '"', " " * 64], ids=ascii
)
def test_a_strange_digest_is_refused(tmp_path, digest):
    head = {"format": 1, "kind": "model", "digest": digest, "facts": {}}
    assert_refused(tmp_path / "model", forged(head, {}, keep_digest=True))


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(fn.ModelFileMissing, match=r"no file.*absent") as caught:
        fn.load(tmp_path / "absent")
    assert isinstance(caught.value, FileNotFoundError | fn.ModelFileError)
    assert caught.value.errno == 2


@pytest.mark.parametrize("place", ["", "folder", "file/below"])
def test_a_path_that_is_no_file_cannot_be_read(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(fn.FileAccessError, match="cannot read"):
        fn.load(tmp_path / place)
