"""Calls of cuBLASLt: descriptors with the real library, choices with a pretended one.

Descriptors need no GPU; algorithms do, and are pretended here.
"""

import ctypes
import itertools

import pytest

import fastnet as fn

pytest.importorskip("cupy", reason="cupy is not installed")

from fastnet_cupy import cublaslt
from fastnet_cupy.cublaslt import Library, MatrixLayout, Operation, Preference, Products
from fastnet_cupy.device import Epilogue, ProductSpec
from fastnet_cupy.precision import BF16, FLOAT32, FLOAT64, FP16, TF32

ROWS, COLUMNS, DEPTH = 6, 200, 9

#: cudaDataType_t and cublasComputeType_t (library_types.h, cublas_api.h), once more.
R_32F, R_64F, R_16F, R_16BF = 0, 1, 2, 14
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77

NUMBERS = [
    (FLOAT32, FLOAT32, R_32F, COMPUTE_32F, R_32F),
    (FLOAT64, FLOAT64, R_64F, COMPUTE_64F, R_64F),
    (TF32, FLOAT32, R_32F, COMPUTE_32F_FAST_TF32, R_32F),
    (TF32, TF32, R_32F, COMPUTE_32F_FAST_TF32, R_32F),
    (BF16, FLOAT32, R_16BF, COMPUTE_32F, R_32F),
    (BF16, BF16, R_16BF, COMPUTE_32F, R_16BF),
    (FP16, FLOAT32, R_16F, COMPUTE_32F, R_32F),
    (FP16, FP16, R_16F, COMPUTE_32F, R_16F),
]
#: cublasLtEpilogue_t, as the header makes it from bits: RELU 2, BIAS 4, AUX 128, DRELU 8 | 128,
#: BGRADA 256.
CODES = {
    Epilogue.NONE: 1, Epilogue.BIAS: 4, Epilogue.RELU_BIAS: 2 | 4,
    Epilogue.RELU_MASK_BIAS: 2 | 128 | 4, Epilogue.MASK: 8 | 128, Epilogue.SUMS: 256,
}  # fmt: skip
MASKED = (Epilogue.RELU_MASK_BIAS, Epilogue.MASK)
BIASED = (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.RELU_MASK_BIAS, Epilogue.SUMS)
COMPUTE_TYPE = cublaslt.Attribute(0, ctypes.c_int32)
SCALE_TYPE = cublaslt.Attribute(1, ctypes.c_int32)
#: cublasLtMatrixLayoutAttribute_t: type, rows, columns, leading dimension.
LAYOUT = [
    cublaslt.Attribute(0, ctypes.c_uint32), cublaslt.Attribute(2, ctypes.c_uint64),
    cublaslt.Attribute(3, ctypes.c_uint64), cublaslt.Attribute(4, ctypes.c_int64),
]  # fmt: skip


def get(descriptor, attribute):
    """What a field of a descriptor holds."""
    content, written = attribute.kind(), ctypes.c_size_t()
    descriptor._library.call(
        f"{descriptor.family}GetAttribute", descriptor.handle, attribute.number,
        ctypes.byref(content), ctypes.sizeof(content), ctypes.byref(written),
    )  # fmt: skip
    assert written.value == ctypes.sizeof(content), "the library has another size for it"
    return int(content.value or 0)


@pytest.fixture(scope="module")
def library():
    from cupy.cuda import runtime

    try:
        return cublaslt.load(runtime.runtimeGetVersion() // 1000)
    except fn.BackendUnavailable as error:
        pytest.skip(str(error))


def spec(
    operands=FLOAT32, result=FLOAT32, transpose_a=False, transpose_b=False, epilogue=Epilogue.NONE
):
    return ProductSpec(ROWS, COLUMNS, DEPTH, transpose_a, transpose_b, operands, result, epilogue)


def fields(descriptor, *attributes):
    return [get(descriptor, attribute) for attribute in attributes]


def test_the_library_has_a_version(library):
    assert int(library.version.split(".")[0]) >= 11


def test_a_library_that_is_absent_is_reported_with_the_pip_line():
    with pytest.raises(fn.BackendUnavailable, match=r'CUDA 99.*"cuda-toolkit\[cublas\]==99\.\*"'):
        cublaslt.load(99)


@pytest.mark.parametrize("epilogue", Epilogue, ids=lambda epilogue: epilogue.value)
@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda n: f"{n[0].name}_{n[1].name}")
def test_the_operation_is_what_was_asked_for(library, numbers, epilogue):
    operands, result, _, computing, stored = numbers
    for transpose_a, transpose_b in itertools.product((False, True), repeat=2):
        operation = Operation(library, spec(operands, result, transpose_a, transpose_b, epilogue))
        assert fields(operation, COMPUTE_TYPE, SCALE_TYPE) == [
            computing, R_64F if operands is FLOAT64 else R_32F,
        ]  # fmt: skip
        found = fields(operation, cublaslt.TRANSPOSE_A, cublaslt.TRANSPOSE_B)
        assert found == [transpose_b, transpose_a]
        assert get(operation, cublaslt.EPILOGUE) == CODES[epilogue]
        if epilogue in BIASED:
            assert get(operation, cublaslt.BIAS_TYPE) == stored
        bits = get(operation, cublaslt.MASK_ROW_BITS)
        assert bits == (256 if epilogue in MASKED else 0)  # 200 columns, in groups of 128


def test_a_masks_row_is_whole_groups_of_128_bits(library):
    for columns in (1, 127, 128, 129, 300):
        one = ProductSpec(2, columns, 3, False, False, BF16, BF16, Epilogue.MASK)
        bits = get(Operation(library, one), cublaslt.MASK_ROW_BITS)
        assert bits % 128 == 0
        assert columns <= bits < columns + 128


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda n: f"{n[0].name}_{n[1].name}")
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_layouts_are_ours_seen_column_by_column(library, numbers, transpose_a, transpose_b):
    operands, result, operand_type, _, result_type = numbers
    a, b, out = cublaslt.layouts(library, spec(operands, result, transpose_a, transpose_b))
    stored = [(DEPTH, ROWS) if transpose_a else (ROWS, DEPTH)]
    stored += [(COLUMNS, DEPTH) if transpose_b else (DEPTH, COLUMNS), (ROWS, COLUMNS)]
    kinds = (operand_type, operand_type, result_type)
    for layout, kind, (rows, columns) in zip((a, b, out), kinds, stored, strict=True):
        assert fields(layout, *LAYOUT) == [kind, columns, rows, columns]


def test_preferences_are_kept(library):
    preference = Preference(library, 8)
    assert fields(preference, cublaslt.WORKSPACE, cublaslt.REDUCTIONS) == [32 * 2**20, 2]
    assert fields(preference, *cublaslt.ALIGNMENTS) == [8, 8, 8, 8]


ATTRIBUTES = [
    *[(Operation, getattr(cublaslt, name)) for name in (
        "TRANSPOSE_A", "TRANSPOSE_B", "EPILOGUE", "BIAS_POINTER", "MASK_POINTER", "MASK_ROW_BITS",
        "BIAS_TYPE",
    )],
    *[(MatrixLayout, one) for one in LAYOUT],
    *[(Preference, one) for one in (
        cublaslt.WORKSPACE, cublaslt.REDUCTIONS, *cublaslt.ALIGNMENTS,
    )],
]  # fmt: skip


@pytest.mark.parametrize(("kind", "attribute"), ATTRIBUTES)
def test_attributes_have_the_librarys_sizes(library, kind, attribute):
    make = {
        Operation: lambda: Operation(library, spec(epilogue=Epilogue.MASK)),
        MatrixLayout: lambda: MatrixLayout(library, FLOAT32, ROWS, COLUMNS),
        Preference: lambda: Preference(library, 16),
    }
    descriptor = make[kind]()
    descriptor.set(attribute, 1)
    assert get(descriptor, attribute) == 1
    wrong = ctypes.c_int8 if ctypes.sizeof(attribute.kind) != 1 else ctypes.c_int64
    with pytest.raises(fn.FastnetError, match="SetAttribute failed with CUBLAS_STATUS_INVALID"):
        descriptor.set(attribute._replace(kind=wrong), 1)


def test_a_heuristic_has_the_headers_size():
    assert ctypes.sizeof(cublaslt._Candidate) == 8 * 8 + 8 + 4 + 4 + 4 * 4


def test_descriptors_are_given_back(library, monkeypatch):
    asked = []
    status = library.status
    monkeypatch.setattr(library, "status", lambda name, *_: asked.append(name) or status(name, *_))
    for descriptor in (Operation(library, spec()), Preference(library, 16)):
        del descriptor
    assert sorted(name for name in asked if name.endswith("Destroy")) == [
        "MatmulDescDestroy", "MatmulPreferenceDestroy",
    ]  # fmt: skip


class Pretended(Library):
    """The real descriptors, and a GPU that is made up.

    Attributes:
        answer: the heuristic's: status, and the states of what it found.
        refused: algorithms that cublasLtMatmul refuses.
        queries: the epilogue's pointers at each question to the heuristic, by attribute.
        products: what cublasLtMatmul was called with.
        pointers: the epilogue's pointers now, by attribute.
    """

    def __init__(self, real, status=0, states=(0,), refused=()):
        self._loaded = real._loaded
        self.answer, self.refused = (status, states), refused
        self.queries, self.products, self.pointers = [], [], {}

    def status(self, name, *arguments):
        if name in ("Create", "Destroy"):
            return 0
        if name == "MatmulAlgoGetHeuristic":
            status, states = self.answer
            for candidate, state in zip(arguments[8], states, strict=False):
                candidate.state = state
                candidate.algorithm[0] = len(self.queries)
            for number, candidate in enumerate(arguments[8]):
                candidate.algorithm[1] = number
            arguments[9]._obj.value = len(states)
            self.queries.append(dict(self.pointers))
            return status
        if name == "Matmul":
            self.products.append(arguments)
            return 15 if arguments[12]._obj.algorithm[1] in self.refused else 0
        if name == "MatmulDescSetAttribute" and arguments[1] in (8, 11):
            self.pointers[arguments[1]] = arguments[2]._obj.value
        return super().status(name, *arguments)


def prepared(pretended, epilogue):
    return Products(pretended, workspace=0x1000).prepare(spec(epilogue=epilogue))


def test_a_product_is_swapped_and_keeps_its_algorithm(library):
    pretended = Pretended(library)
    product = prepared(pretended, Epilogue.RELU_MASK_BIAS)
    for _ in range(2):
        product(7, 0x100, 0x200, 0x300, 0x400, 0x500)
    assert pretended.queries == [{8: 16, 11: 256}, {8: 4, 11: 256}]
    for call in pretended.products:
        # handle, operation, alpha, A, its layout, B, its, beta, C, its, D, its, algorithm, ...
        assert [call[3], call[5], call[8], call[10]] == [0x200, 0x100, 0x300, 0x300]
        assert [call[2]._obj.value, call[7]._obj.value] == [1, 0]
        assert call[12]._obj.algorithm[0] == 0
        assert call[13:] == (0x1000, 32 * 2**20, 7)
    assert pretended.pointers == {8: 0x400, 11: 0x500}


def test_a_bias_that_begins_anywhere_has_an_algorithm_of_its_own(library):
    pretended = Pretended(library)
    product = prepared(pretended, Epilogue.BIAS)
    for bias in (0x404, 0x400, 0x408):
        product(7, 0x100, 0x200, 0x300, bias)
    assert [call[12]._obj.algorithm[0] for call in pretended.products] == [1, 0, 1]


@pytest.mark.parametrize("epilogue", [Epilogue.NONE, Epilogue.MASK])
def test_without_a_bias_one_algorithm_does(library, epilogue):
    pretended = Pretended(library)
    prepared(pretended, epilogue)(7, 0x100, 0x200, 0x300, 0, 0x500)
    assert len(pretended.queries) == 1
    assert (8 in pretended.pointers, 11 in pretended.pointers) == (False, epilogue is Epilogue.MASK)


@pytest.mark.parametrize("status", [cublaslt.NOT_SUPPORTED, cublaslt.INVALID_VALUE, 0])
def test_an_epilogue_that_is_not_there_is_none_and_a_product_that_is_not_an_error(library, status):
    products = Products(Pretended(library, status, states=()), workspace=0x1000)
    assert products.prepare(spec(epilogue=Epilogue.SUMS)) is None
    assert products.prepare(spec(epilogue=Epilogue.MASK)) is None
    expected = "INVALID_VALUE" if status == cublaslt.INVALID_VALUE else "NOT_SUPPORTED"
    with pytest.raises(fn.FastnetError, match=rf"rows=6.*CUBLAS_STATUS_{expected}"):
        products.prepare(spec())


def test_a_broken_library_is_an_error_whatever_the_epilogue(library):
    products = Products(Pretended(library, status=14), workspace=0x1000)
    with pytest.raises(fn.FastnetError, match="CUBLAS_STATUS_INTERNAL_ERROR"):
        products.prepare(spec(epilogue=Epilogue.BIAS))


def test_the_first_algorithm_that_works_is_taken(library):
    pretended = Pretended(library, states=(15, 0))
    product = Products(pretended, workspace=0x1000).prepare(spec())
    product(7, 0x100, 0x200, 0x300)
    assert pretended.products[0][12]._obj.state == 0


def test_an_algorithm_that_is_refused_gives_way_to_the_next_for_good(library):
    pretended = Pretended(library, states=(0, 0, 0), refused=(0, 1))
    product = Products(pretended, workspace=0x1000).prepare(spec())
    for _ in range(2):
        product(7, 0x100, 0x200, 0x300)
    assert [call[12]._obj.algorithm[1] for call in pretended.products] == [0, 1, 2, 2]
    pretended.refused = (2,)
    for _ in range(2):
        with pytest.raises(fn.FastnetError, match=r"Matmul.*NOT_SUPPORTED: ProductSpec\(rows=6"):
            product(7, 0x100, 0x200, 0x300)


def test_without_a_gpu_the_handle_says_so(library):
    from cupy.cuda import runtime

    try:
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError:
        with pytest.raises(fn.FastnetError, match="cublasLtCreate failed with CUBLAS_STATUS_NOT_I"):
            Products(library, workspace=0)
    else:
        pytest.skip("there is a GPU")
