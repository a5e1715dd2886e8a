"""Every PTX instruction of kernels/device.cuh against NumPy, on a GPU and on the simulated device.

The kernels are those of test_host_device.py, simulated/sound.cu: both devices run the same ones.
"""

from pathlib import Path

import gpu_devices
import numpy as np
import pytest
from compare import assert_same_bits
from simulated import compiled
from simulated.products import round_tf32

from fastnet_cupy.compiler import KERNELS, compile_file
from fastnet_cupy.precision import bf16_to_float32, float32_to_bf16

SOUND = (Path(compiled.__file__).parent / "sound.cu").read_text()


@pytest.fixture(params=gpu_devices.KINDS, scope="module")
def device(request):
    return gpu_devices.open_device(request.param)


@pytest.fixture
def launch(device, tmp_path, monkeypatch):
    """Launch a kernel by its name: (blocks, threads, arguments); arrays come back changed."""
    if device.architecture == "host":
        kernels = compiled.kernels(SOUND)

        def start(name, blocks, threads, given):
            device.launch(kernels[name], blocks, threads, given, 0)
    else:
        from cupy.cuda import Module

        from fastnet_cupy.cupy_device import CupyKernel

        monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
        (tmp_path / "ptx.cu").write_text(SOUND)
        (tmp_path / "device.cuh").write_text((KERNELS / "device.cuh").read_text())
        with device.current():
            module = Module()
            module.load(compile_file("ptx.cu", (), device.architecture, folder=tmp_path).cubin)

        def start(name, blocks, threads, given):
            CupyKernel(device, module.get_function(name), False)(blocks, threads, given)

    def run(name, blocks, threads, *arguments):
        given = [device.upload(a) if isinstance(a, np.ndarray) else a for a in arguments]
        start(name, blocks, threads, tuple(given))
        for there, here in zip(given, arguments, strict=True):
            if isinstance(here, np.ndarray):
                here[...] = device.download(there)

    return run


def converted(launch, x):
    """What `convert` makes of float32 `x`: fp16, it back, bf16's bits, it back, TF32."""
    n = len(x)
    made = [np.full(n, 0x7B, kind) for kind in ("f2", "f4", "u2", "f4", "f4")]
    launch("convert", -(-n // 256), 256, x.copy(), *made, np.int64(n))
    return made


def assert_same_numbers(found, wanted):
    """The same bits, but for those of NaN, which each machine chooses."""
    assert found.dtype == wanted.dtype
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(found), nan)
    assert_same_bits(found[~nan], wanted[~nan])


HALVES = np.arange(2**16, dtype="u2").view("f2")
BRAINS = bf16_to_float32(np.arange(2**16, dtype="u2"))


@pytest.mark.parametrize("x", [HALVES.astype("f4"), BRAINS], ids=["fp16", "bf16"])
def test_every_number_of_16_bits_there_and_back(launch, x):
    half, half_back, brain, brain_back, _ = converted(launch, x)
    with np.errstate(all="ignore"):
        assert_same_numbers(half, x.astype("f2"))
    assert_same_numbers(half_back, half.astype("f4"))
    assert_same_numbers(bf16_to_float32(brain), bf16_to_float32(float32_to_bf16(x)))
    assert_same_numbers(brain_back, bf16_to_float32(brain))
    if x is BRAINS:
        assert_same_numbers(bf16_to_float32(brain), x)
    else:
        assert_same_numbers(half, HALVES)


def edges():
    """Every tie of fp16, bf16 and TF32, the numbers beside it, and what ends a format."""
    ties = np.arange(0, 2**32, 0x1000, dtype="u8")
    beside = np.concatenate([ties, ties + 1, ties + 0xFFF]).astype("u4").view("f4")
    named = [
        0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.996, 65520, 2.0**-24, 2.0**-25,
        1.5 * 2.0**-25, 2.0**-126, 2.0**-149, 3.4028235e38, 3.3895314e38, 3.396e38,
    ]  # fmt: skip
    named = np.array(named, "f4")
    return np.concatenate([beside[::5], named, -named])


def test_numbers_between_are_rounded_as_numpy_rounds_them(launch):
    x = edges()
    half, half_back, brain, brain_back, tf32 = converted(launch, x)
    with np.errstate(all="ignore"):
        assert_same_numbers(half, x.astype("f2"))
    assert_same_numbers(half_back, half.astype("f4"))
    assert_same_numbers(bf16_to_float32(brain), bf16_to_float32(float32_to_bf16(x)))
    assert_same_numbers(brain_back, bf16_to_float32(brain))
    assert_same_numbers(tf32, round_tf32(x))
    one_and_a_tie = np.float32(1 + 2.0**-11)  # away from zero, where NumPy has no such type
    *_, tf32 = converted(launch, np.array([one_and_a_tie, -one_and_a_tie]))
    assert tf32.tolist() == [1 + 2.0**-10, -1 - 2.0**-10]


def test_pairs_are_rounded_as_each_of_them(launch):
    x = edges()
    x = x[: len(x) // 512 * 512]
    n = len(x) // 2
    half, brain = np.zeros(n, "u4"), np.zeros(n, "u4")
    launch("convert_pairs", -(-n // 256), 256, x.copy(), half, brain, np.int32(n))
    with np.errstate(all="ignore"):
        assert_same_numbers(half.view("f2"), x.astype("f2"))
    assert_same_numbers(bf16_to_float32(brain.view("u2")), bf16_to_float32(float32_to_bf16(x)))


def test_copies_beside_a_thread_are_there_after_waiting(launch):
    x, out = np.arange(224, dtype="f4"), np.zeros(224, "f4")
    launch("copy", 1, 32, x.copy(), out, np.int32(1))
    assert_same_bits(out, x[::-1].copy())


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["fp16", "bf16", "tf32"])
def test_tensor_cores_multiply_as_numpy_does(launch, kind, seed):
    rng = np.random.default_rng(seed)
    depth = 8 if kind == "tf32" else 16
    a, b = rng.normal(size=(16, depth)).astype("f4"), rng.normal(size=(depth, 8)).astype("f4")
    c = rng.normal(size=(16, 8)).astype("f4")
    before = c.astype("f8")
    if kind == "tf32":
        launch("tf32_mma", 1, 32, a, b, c)
        a, b = round_tf32(a), round_tf32(b)
    elif kind == "bf16":
        a, b = float32_to_bf16(a), float32_to_bf16(b)
        launch("narrow_mma", 1, 32, a, b, c, np.int32(1))
        a, b = bf16_to_float32(a), bf16_to_float32(b)
    else:
        a[0, :4] = [1e-7, -6e-8, 0, -65504]  # also fp16's smallest and its largest
        a, b = a.astype("f2").view("u2"), b.astype("f2").view("u2")
        launch("narrow_mma", 1, 32, a, b, c, np.int32(0))
        a, b = a.view("f2"), b.view("f2")
    right = before + a.astype("f8") @ b.astype("f8")
    # Sums of float32, whose last bits tensor cores cut: of a row's largest term, two units.
    terms = np.abs(a.astype("f8")) @ np.abs(b.astype("f8")) + np.abs(before)
    assert (np.abs(c - right) <= 2.0**-21 * terms).all()


def test_a_product_with_one_has_every_entry_in_its_place(launch):
    """Exact: each entry of c is one entry of b, or of a."""
    entries = np.arange(256, dtype="f4").reshape(16, 16)
    one = np.eye(16, dtype="f4")
    for a, b in ((entries, one[:, :8]), (one, entries[:, :8])):
        c = np.zeros((16, 8), "f4")
        launch("narrow_mma", 1, 32, float32_to_bf16(a), float32_to_bf16(b), c, np.int32(1))
        np.testing.assert_array_equal(c, a @ b)
    a, c = entries[:, :8].copy(), np.zeros((16, 8), "f4")
    launch("tf32_mma", 1, 32, a, one[:8, :8].copy(), c)
    np.testing.assert_array_equal(c, a)


def test_matrices_are_loaded_straight_and_turned(launch):
    x = np.random.default_rng(4).integers(0, 2**16, (4, 8, 8), dtype="u2")
    out, turned = np.zeros_like(x), np.zeros_like(x)
    launch("load", 1, 32, x.copy(), out, turned, np.int32(0))
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(turned, x.transpose(0, 2, 1))


def of_lanes(places):
    """Rows and columns `(32, entries)` of a fragment's entries in each lane."""
    count, place = places
    table = [[place(lane >> 2, lane % 4, i) for i in range(count)] for lane in range(32)]
    return tuple(np.array(table).transpose(2, 0, 1))


#: By the group of a lane, the thread in its group and the entry's number: row and column, as the
#: PTX ISA writes them (sections 9.7.14.5.7 and 9.7.14.5.8).
ACCUMULATOR = (4, lambda group, thread, i: (group if i < 2 else group + 8, thread * 2 + (i & 1)))
FRAGMENTS = {
    "m16n8k16": (
        (8, lambda group, thread, i: (
            group if 0 <= i < 2 or 4 <= i < 6 else group + 8,
            thread * 2 + (i & 1) if i < 4 else thread * 2 + (i & 1) + 8)),
        (4, lambda group, thread, i: (
            thread * 2 + (i & 1) if i < 2 else thread * 2 + (i & 1) + 8, group)),
    ),
    "m16n8k8": (
        (4, lambda group, thread, i: (
            group if i in (0, 2) else group + 8, thread if i in (0, 1) else thread + 4)),
        (2, lambda group, thread, i: (thread if i == 0 else thread + 4, group)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["fp16", "bf16", "tf32"])
def test_fragments_lie_in_the_lanes_as_the_isa_says(launch, kind):
    """Exact: small whole numbers."""
    shape, depth = ("m16n8k8", 8) if kind == "tf32" else ("m16n8k16", 16)
    rng = np.random.default_rng(5)
    a, b, c = (
        rng.integers(-8, 9, size).astype("f4") for size in ((16, depth), (depth, 8), (16, 8))
    )

    def held(matrix, places):
        """The registers `(32, ...)` that hold a matrix."""
        entries = np.ascontiguousarray(matrix[of_lanes(places)])
        if kind == "bf16":
            entries = float32_to_bf16(entries)
        return (entries.astype("f2") if kind == "fp16" else entries).view("u4")

    in_a, in_b = (held(m, places) for m, places in zip((a, b), FRAGMENTS[shape], strict=True))
    in_c = np.ascontiguousarray(c[of_lanes(ACCUMULATOR)])
    launch("lanes_mma", 1, 32, in_a, in_b, in_c, np.int32(["fp16", "bf16", "tf32"].index(kind)))
    np.testing.assert_array_equal(in_c, (c + a @ b)[of_lanes(ACCUMULATOR)])


@pytest.mark.parametrize("transposed", [False, True])
def test_loaded_matrices_lie_in_the_lanes_as_the_isa_says(launch, transposed):
    """A lane holds two neighbors of the row that its number over four is (section 9.7.14.5.15)."""
    x = np.arange(256, dtype="u2").reshape(4, 8, 8)
    m = np.zeros((32, 4), "u4")
    launch("lanes_load", 1, 32, x.copy(), m, np.int32(transposed))
    given = x.transpose(0, 2, 1) if transposed else x
    for lane in range(32):
        for number in range(4):
            first, second = given[number].reshape(32, 2)[lane]
            assert m[lane, number] == int(first) | int(second) << 16
