"""Imports run one way: each room imports only rooms below it. Read off every file's code."""

import ast
from pathlib import Path

import pytest

import fastnet

ROOT = Path(fastnet.__file__).parent

#: The rooms of fastnet, from the bottom up; those of one line do not import each other.
FLOORS = [
    ["errors", "version", "startup", "interrupts", "callers", "advice"],
    ["extras", "blas", "memory", "arguments", "html", "records"],
    ["arrays"],
    ["migrations"],
    ["random", "files"],
    ["plots"],
    ["definition"],
    ["contract"],
    ["training"],
    ["attributes", "parameters", "datasets", "derivatives"],
    ["model_files", "fitting"],
    ["model"],
    ["many"],
    ["tables"],
    ["interchange", "sklearn", "benchmark"],
    ["__init__"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

#: The arrows that run up, when they are called: a method that a user looks for on a model.
UPWARD = {("model.py", "interchange.exporting"), ("many/ensemble.py", "interchange.exporting")}

#: Inside the Numba backend, from the bottom up; what stands at its top is one more.
NUMBA_FLOORS = {"simd": 0, "ops": 1}

BACKENDS = ["fastnet_numpy", "fastnet_numba", "fastnet_cupy", "fastnet_array_api"]


def imports(path):
    """Each module that a file imports, with the names taken from it, type hints included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module, [alias.name for alias in node.names]


def modules(path, package):
    """The modules of a package that a file imports, without the package's own name."""
    for module, names in imports(path):
        if module == package:
            if not names:
                yield "__init__"
            for name in names:  # a module, or a name of the package's face
                yield name if _is_module(package, name) else "__init__"
        elif module.startswith(f"{package}."):
            yield module.removeprefix(f"{package}.")


def _is_module(package, name):
    folder = folder_of(package)
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def folder_of(package):
    module = pytest.importorskip(package, reason=f"{package} is not here")
    return Path(module.__file__).parent


def test_every_file_of_fastnet_stands_on_a_floor():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_only_rooms_below_it(room):
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else (ROOT / room).rglob("*.py")
    wrong = []
    for path in files:
        for module in modules(path, "fastnet"):
            other = module.partition(".")[0]
            here = str(path.relative_to(ROOT))
            if other != room and FLOOR[other] >= FLOOR[room] and (here, module) not in UPWARD:
                wrong.append(f"{here} imports fastnet.{module}")
    assert not wrong


def test_fastnet_knows_backends_by_name_only():
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in ROOT.rglob("*.py")
        for module, _ in imports(path)
        if module.startswith("fastnet_")
    ]
    assert not wrong


@pytest.mark.parametrize("package", BACKENDS)
def test_a_backend_imports_the_contract_and_what_is_below_it(package):
    wrong = []
    for path in folder_of(package).rglob("*.py"):
        for module in modules(path, "fastnet"):
            if FLOOR[module.partition(".")[0]] > FLOOR["contract"]:
                wrong.append(f"{path.name} imports fastnet.{module}")
    assert not wrong


@pytest.mark.parametrize("package", BACKENDS)
def test_a_backend_imports_no_other_backend(package):
    wrong = [
        f"{path.name} imports {module}"
        for path in folder_of(package).rglob("*.py")
        for module, _ in imports(path)
        if module.startswith("fastnet_") and module.partition(".")[0] != package
    ]
    assert not wrong


def test_the_numba_backend_is_three_floors():
    folder = folder_of("fastnet_numba")
    wrong = []
    for path in folder.rglob("*.py"):
        place = path.relative_to(folder)
        floor = NUMBA_FLOORS.get(place.parts[0], 2)
        for module in modules(path, "fastnet_numba"):
            other = module.partition(".")[0]
            if other != place.parts[0] and NUMBA_FLOORS.get(other, 2) > floor:
                wrong.append(f"{place} imports fastnet_numba.{module}")
    assert not wrong


@pytest.mark.parametrize("package", ["fastnet", *BACKENDS])
def test_no_private_name_is_borrowed_across_folders(package):
    folder = folder_of(package)
    wrong = []
    for path in folder.rglob("*.py"):
        for module, names in imports(path):
            own = ".".join((package, *path.relative_to(folder).parts[:-1]))
            private = [name for name in names if name.startswith("_") and not name.endswith("__")]
            ours = module.partition(".")[0] in ("fastnet", *BACKENDS)
            if ours and private and module.rpartition(".")[0] != own:
                wrong.append(f"{path.relative_to(folder)} takes {private} from {module}")
    assert not wrong


@pytest.mark.parametrize("package", ["fastnet", *BACKENDS])
def test_every_folder_says_what_it_holds(package):
    folder = folder_of(package)
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir() and any(p.glob("*.py")))]:
        text = ast.get_docstring(ast.parse((path / "__init__.py").read_text()))
        assert text, f"{path.name}/__init__.py has no docstring"
        if path != folder:
            said = "may import" in text.lower() or "imports nothing" in text.lower()
            assert said, f"{path.name}/__init__.py: what may it import?"
