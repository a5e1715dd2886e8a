"""`import fastnet` imports NumPy and nothing heavier; other libraries follow when needed."""

import ast
import importlib
import pydoc
from pathlib import Path

import child
import pytest

import fastnet

HEAVY = [
    "numba", "cupy", "scipy", "sklearn", "onnx", "onnxruntime", "torch", "keras", "matplotlib",
    "rich", "typer", "polars", "safetensors", "threadpoolctl", "pandas", "tqdm", "fastnet_numpy",
    "fastnet_numba", "fastnet_cupy", "fastnet_array_api",
]  # fmt: skip

LOADED = f"""
import sys
print(*sorted(set({HEAVY}) & {{name.partition('.')[0] for name in sys.modules}}))
"""

#: What may be loaded of Python's library that NumPy has not loaded; the rest of it costs too much.
LIBRARY = {"_weakrefset", "copy", "dataclasses", "keyword", "mmap", "signal", "threading"}

#: Rooms that neither importing nor a plain fit needs, and those that importing alone does not need.
NEEDED_SELDOM = [
    "benchmark", "cli", "files", "interchange", "many", "model_files", "plots", "sklearn", "tables",
    "training.checkpoints", "training.distributed", "training.streaming", "training.together",
]  # fmt: skip
NEEDED_BY_MODELS = ["contract", "model", "training"]

TRAIN = """
import fastnet as fn
x, y = fn.datasets.xor()
model = fn.Model(fn.datasets.xor_network(), backend="numpy")
model.fit(x, y, epochs=2)
model.predict(x)
"""


def test_import_loads_nothing_heavy():
    assert child.run("import numpy" + LOADED) == "\n", "a startup file loads something here"
    assert child.run("import fastnet" + LOADED) == "\n"


@pytest.mark.parametrize(
    ("before", "code", "later"),
    [
        ("numpy", "import fastnet", [*NEEDED_SELDOM, *NEEDED_BY_MODELS]),
        ("numpy, numpy.random, threadpoolctl", TRAIN, NEEDED_SELDOM),
    ],
    ids=["import", "fit"],
)
def test_nothing_is_loaded_that_is_not_needed(before, code, later):
    code = f"import sys, {before}; before = set(sys.modules)\n{code}\n"
    loaded = child.run(code + "print(*sorted(set(sys.modules) - before))").split()
    assert {name for name in loaded if not name.startswith("fastnet")} <= LIBRARY
    assert not {f"fastnet.{name}" for name in later} & set(loaded)


def test_kernels_that_are_compiled_load_no_compiler():
    pytest.importorskip("numba", reason="numba is not installed")
    fit = TRAIN.replace("numpy", "numba")
    assert fit != TRAIN
    loaded = child.run(f"import sys\n{fit}\nprint(*sys.modules)").split()
    assert "fastnet_numba.kernels" in loaded
    assert not {"numba.np.arrayobj", "numba.np.linalg", "scipy.linalg"} & set(loaded)


def test_names_that_are_imported_later_are_public_like_all_others():
    said = {}  # to type checkers
    for block in ast.parse(Path(fastnet.__file__).read_text()).body:
        if isinstance(block, ast.If):
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    said |= {alias.name: line.module for alias in line.names}
    rooms = {name for name, module in said.items() if module == "fastnet"}
    assert rooms == set(fastnet._MODULES)
    assert {name: module for name, module in said.items() if name not in rooms} == fastnet._LATER
    assert {*fastnet.__all__, *rooms} - set(dir(fastnet)) == {"sklearn"}
    assert "class Model" in pydoc.render_doc(fastnet, renderer=pydoc.plaintext)  # by help(fastnet)
    for name in fastnet._LATER:
        module = said[name]
        assert getattr(fastnet, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="module 'fastnet' has no attribute 'Modell'") as error:
        fastnet.Modell  # noqa: B018
    assert (error.value.name, error.value.obj) == ("Modell", fastnet)  # for Python's suggestion


def test_rooms_need_no_import_of_their_own_and_a_star_brings_every_name():
    rooms = set(fastnet._MODULES) - {"sklearn"}
    used = "".join(f"\nassert fastnet.{name}.__name__ == 'fastnet.{name}'" for name in rooms)
    star = "\nfrom fastnet import *\nassert not set(fastnet.__all__) - set(globals())"
    assert child.run(f"import fastnet{used}{star}{LOADED}") == "\n"


def test_defining_a_network_loads_nothing_heavy():
    assert child.run("import fastnet as fn\nfn.datasets.xor_network().to_toml()" + LOADED) == "\n"


def test_training_loads_the_backend_alone():
    assert child.run(TRAIN + LOADED).split() == ["fastnet_numpy", "threadpoolctl"]


def test_importing_writes_nothing(tmp_path):
    code = "import os, sys, fastnet\nprint(len(os.listdir(sys.argv[1])))"
    assert child.run(code, str(tmp_path), HOME=str(tmp_path), TMPDIR=str(tmp_path)) == "0\n"


@pytest.mark.parametrize("name", ["numpy.random.seed(3)", "numpy.random.default_rng"])
def test_the_global_generator_of_numpy_is_neither_read_nor_changed(name):
    code = (
        f"import numpy\n{name}\nbefore = numpy.random.get_state()[1].copy()\n"
        "import fastnet as fn\n"
        "network = fn.Network(3, [fn.Dense(4), fn.Dropout(0.5), fn.Dense(1)])\n"
        "model = fn.Model(network, backend='numpy', seed=1)\n"
        "x, y = fn.datasets.synthetic(20, 3)\n"
        "fn.datasets.xor_network(tutorial_start=True)\n"
        "model.fit(x, y, epochs=2, validation=0.2)\n"
        "assert (numpy.random.get_state()[1] == before).all()\n"
        "print(model.parameters.flat.tobytes().hex())"
    )
    output = child.run(code)
    assert output == child.run(code.replace("seed(3)", "seed(4)"))
