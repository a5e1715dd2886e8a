"""ONNX files that are damaged or malicious raise `ModelFileError`, soon and with little memory."""

import os

import numpy as np
import pytest
from graphs import anywhere, mixed
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_graphs import (
    FIRST,
    FLOAT,
    FORMS,
    LAST,
    LAYERS,
    W,
    from_array,
    graph_of,
    helper,
    onnx,
    refused,
    stored,
)
from samples import WRITABLE, biased

import fastnet as fn


def test_other_files_are_refused(tmp_path):
    with pytest.raises(fn.ModelFileMissing):
        fn.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(fn.FileAccessError):
        fn.from_onnx(tmp_path)
    path = tmp_path / "model.onnx"
    for content in (b"", b"\x00", b"no model", bytes(range(255, 5, -1)), b"\x0a" * 1000):
        path.write_bytes(content)
        with pytest.raises(fn.ModelFileError, match="not an ONNX file"):
            fn.from_onnx(path)
    with pytest.raises(fn.DefinitionError, match="path is None"):
        fn.from_onnx(None)
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(fn.FileAccessError, match="a device, not a file"):
            fn.from_onnx(endless)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """The bytes of files that together have most of what a graph may have."""
    folder = tmp_path_factory.mktemp("intact")
    found = []
    for dtype in ("float32", "float64"):
        layers = [fn.Dense(2, activation) for activation in WRITABLE]
        model = biased(fn.Model(fn.Network(2, layers), backend="numpy", dtype=dtype, seed=1))
        model.to_onnx(folder / "model.onnx")
        found.append((folder / "model.onnx").read_bytes())
    for name in ("nested", "batch_norm"):
        anywhere(mixed(name), "numpy").to_onnx(folder / "model.onnx")
        found.append((folder / "model.onnx").read_bytes())
    for _, nodes, constants in FORMS.values():
        proto = graph_of([FIRST, *nodes, *LAST], {**LAYERS, **constants})
        found.append(proto.SerializeToString())
    return found


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path, intact, data):
    content = bytearray(data.draw(st.sampled_from(intact)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if content:
            content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    try:
        model = fn.from_onnx(path, backend="numpy")
    except fn.ModelFileError:
        return
    assert np.isfinite(model.parameters.flat).all()


def tampered(change, nodes=(FIRST, ("Relu", "z", "y")), **options):
    proto = graph_of([node[:3] + tuple(map(dict, node[3:])) for node in nodes], LAYERS, **options)
    change(proto.graph)
    return proto


def _nan(graph):
    graph.initializer[0].CopyFrom(from_array(np.full((3, 4), np.nan, np.float32), "w"))


def _huge(graph):
    graph.initializer[0].dims[:] = [2**40, 2**40]


def _negative(graph):
    graph.initializer[0].dims[:] = [-3, -4]


def _short(graph):
    graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-4]


def _cycle(graph):
    graph.node[0].input[0] = "y"


def _self_made(graph):
    graph.node[1].input[0] = "y"


def _twice(graph):
    graph.node[1].output[0] = "z"
    graph.output[0].name = "z"


def _odd(graph):
    kind = onnx.TensorProto.BFLOAT16
    graph.initializer[0].CopyFrom(helper.make_tensor("w", kind, (3, 4), [1] * 12))


def _empty(graph):
    graph.initializer[0].CopyFrom(from_array(np.ones((3, 0), np.float32), "w"))


def _labels(graph):
    graph.output[0].type.tensor_type.elem_type = 7


def _no_output(graph):
    del graph.output[:]


def _two_inputs(graph):
    graph.node[0].input[2] = "more"
    graph.input.append(helper.make_tensor_value_info("more", FLOAT, [4]))


def _no_input(graph):
    graph.node[1].input[0] = ""


def _many(graph):
    graph.node[1].input.extend(["z"] * 5)


HOSTILE = {
    "weights that are nan": (_nan, "has values that are not finite"),
    "huge shapes": (_huge, "does not have as many numbers"),
    "negative shapes": (_negative, "does not have as many numbers"),
    "a short constant": (_short, "does not have as many numbers"),
    "a cycle": (_cycle, "inputs"),
    "a node that reads itself": (_self_made, "inputs|comes from no node"),
    "a name made twice": (_twice, "written twice|inputs"),
    "another precision": (_odd, "constant 'w' is bfloat16; .*export the network in float32"),
    "an empty layer": (_empty, r"\(3, 0\)"),
    "labels alone": (_labels, r"its output is 'y' \(int64\).*without ArgMax"),
    "no output": (_no_output, "0 outputs"),
    "two inputs": (_two_inputs, "depends on 2 inputs"),
    "a missing input": (_no_input, r"lacks an input|inputs"),
    "many inputs": (_many, "with 6 inputs"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused(tmp_path, case):
    change, message = HOSTILE[case]
    refused(tmp_path, tampered(change), message)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("Gemm", "x w b", "y", {"alpha": from_array(W)}), "its attribute 'alpha' is invalid"),
        (("Elu", "z", "y", {"alpha": from_array(W)}), "its attribute 'alpha' is invalid"),
        (("Softmax", "z", "y", {"axis": 1.0}), "its attribute 'axis' is invalid"),
        (("Shape", "z", "y", {"end": "1"}), "its attribute 'end' is invalid"),
        (("Unsqueeze", "z", "y", {"axes": [1.0]}), "its attribute 'axes' is invalid"),
        (("Clip", "z k", "y"), "its attribute 'value_float' is invalid"),
        (("Gather", "s nan", "y"), "an integer there, not float32"),
        (("Slice", "s nan nan", "y"), "an integer there, not float32"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, node, message):
    constant = ("Constant", "", "k", {"value_float": "1"})
    nodes = [FIRST, constant, ("Shape", "z", "s"), node]
    refused(tmp_path, graph_of(nodes, {**LAYERS, "nan": np.array(np.nan, np.float32)}), message)


def test_a_small_file_cannot_ask_for_much(tmp_path):
    square = np.ones((40, 40), np.float32)
    products = [("MatMul", f"{'x' if i == 0 else f'm{i}'} w", f"m{i + 1}") for i in range(200)]
    proto = graph_of(products, {"w": square}, outputs=("m200",), inputs=("n", 40))
    refused(tmp_path, proto, "many times the weights in the file")
    powers = [("Mul", f"{'x' if i == 0 else f'p{i}'} " * 2, f"p{i + 1}") for i in range(60)]
    refused(tmp_path, graph_of(powers, {}, outputs=("p60",)), "part of an activation")
    steps = [("Add", f"{'z' if i == 0 else f's{i}'} b", f"s{i + 1}") for i in range(50)]
    refused(tmp_path, graph_of([FIRST, *steps], LAYERS, outputs=("s50",)), "right after a matrix")
    curves = [("Tanh", f"{'z' if i == 0 else f't{i}'}", f"t{i + 1}") for i in range(500)]
    refused(
        tmp_path, graph_of([FIRST, *curves], LAYERS, outputs=("t500",)), "not part of an activation"
    )


def beside(tmp_path, location, offset=None, length=None):
    """A model whose weights are in another file."""
    proto = graph_of([FIRST, ("Relu", "z", "y")], LAYERS)
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location, offset, length)
    tensor.ClearField("raw_data")
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return stored(folder, proto)


def test_weights_in_a_file_beside_are_read(tmp_path):
    raw = W.astype("<f4").tobytes()
    path = beside(tmp_path, "weights.bin", offset=8, length=len(raw))
    (path.parent / "weights.bin").write_bytes(b"12345678" + raw)
    model = fn.from_onnx(path, backend="numpy")
    np.testing.assert_array_equal(model.parameters["0.weight"], W.astype(np.float32))
    for content in (b"12345678" + raw[:-1], b""):
        (path.parent / "weights.bin").write_bytes(content)
        with pytest.raises(fn.ModelFileError, match=r"'weights.bin' does not have its 48 bytes"):
            fn.from_onnx(path, backend="numpy")
    os.remove(path.parent / "weights.bin")
    with pytest.raises(fn.ModelFileError, match=r"'weights.bin', which is missing"):
        fn.from_onnx(path, backend="numpy")


def test_weights_outside_the_folder_are_not_read(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(W.astype("<f4").tobytes())
    link = tmp_path / "folder" / "link.bin"
    link.parent.mkdir()
    link.symlink_to(secret)
    for location in ("../secret.bin", str(secret), "link.bin", "x/../../secret.bin", "", "\0", "."):
        path = beside(tmp_path, location)
        with pytest.raises(fn.ModelFileError, match=r"outside|missing|cannot be read"):
            fn.from_onnx(path, backend="numpy")
    for offset, length in ((-4, 48), (0, 2**62), (2**70, 48)):
        path = beside(tmp_path, "weights.bin", offset, length)
        (path.parent / "weights.bin").write_bytes(secret.read_bytes())
        with pytest.raises(fn.ModelFileError, match=r"does not have its|cannot be read"):
            fn.from_onnx(path, backend="numpy")
