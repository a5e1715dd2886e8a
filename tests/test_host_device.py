"""The simulated device itself: kernels with known results, and planted bugs that it must find.

Its PTX instructions are tried beside a GPU's, in test_gpu_ptx.py.
"""

import gc
from pathlib import Path

import numpy as np
import pytest
from simulated import building, compiled, sanitized
from simulated.device import HostDevice, plain
from simulated.products import round_tf32
from simulated.sanitized import MEMORY, RACES, Launch

from fastnet_cupy.device import Epilogue, ProductSpec
from fastnet_cupy.precision import (
    BF16,
    FLOAT32,
    FLOAT64,
    FP16,
    TF32,
    bf16_to_float32,
    float32_to_bf16,
)

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

SEEDS = [0, 1, 2, 3, 4, 5]

#: Where the kernels of these tests are.
KERNELS = Path(building.__file__).parent

SOUND = (KERNELS / "sound.cu").read_text()

UNSOUND = (KERNELS / "unsound.cu").read_text()


def launch(name, *arguments, blocks=1, threads=32, source=SOUND, **options):
    compiled.kernels(source)[name].launch(blocks, threads, arguments, **options)


def watched(name, *arguments, threads=32, sanitizer=MEMORY, source=UNSOUND, defines=(), **options):
    sanitized.run(source, [Launch(name, 1, threads, arguments, **options)], defines, sanitizer)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sum_over_blocks_is_right_in_every_schedule(seed):
    x, out = np.arange(2000, dtype="f4"), np.full(3, np.nan, "f4")
    launch("total", x, out, np.int32(2000), blocks=3, threads=256, seed=seed)
    assert out.sum() == x.sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_shared_memory_of_both_kinds(seed):
    x = np.arange(500, dtype="f4")
    launch("turn", x, np.int32(500), threads=128, shared=2000, seed=seed)
    np.testing.assert_array_equal(x, np.arange(500)[::-1])
    x, y = np.arange(32, dtype="f4"), np.arange(32, dtype="i4")
    launch("neighbors", x, y, seed=seed)
    np.testing.assert_array_equal(x, np.arange(32) ^ 1)
    np.testing.assert_array_equal(y, np.arange(32) ^ 1)


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("width", [32, 8])
def test_shuffles_and_votes(seed, width):
    x, lane = np.random.default_rng(1).normal(size=32), np.arange(32)
    out, votes = np.full((4, 32), np.nan), np.zeros(32, "u4")
    launch("shuffles", x, out, votes, np.int32(width), seed=seed)
    start = lane // width * width
    np.testing.assert_array_equal(out[0], x[start + 5])
    np.testing.assert_array_equal(out[1], x[lane ^ 3])
    np.testing.assert_array_equal(out[2], x[np.where(lane - 2 < start, lane, lane - 2)])
    below = np.where(lane + 2 >= start + width, lane, lane + 2)
    np.testing.assert_array_equal(out[3], x[below])
    thirds = sum(1 << i for i in range(0, 32, 3))
    np.testing.assert_array_equal(votes, np.where(lane < 8, 0b10101010, thirds) + 1000)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_copies_are_there_after_waiting_and_not_before(seed):
    x, out = np.arange(224, dtype="f4"), np.zeros(224, "f4")
    launch("copy", x, out, np.int32(1), seed=seed)
    np.testing.assert_array_equal(out, x[::-1])
    launch("copy", x, out, np.int32(0), seed=seed)
    assert np.isnan(out).all()


def test_a_row_to_load_must_be_aligned():
    x = np.zeros(256, "u2")
    with pytest.raises(RuntimeError, match="not aligned to 16 bytes"):
        launch("load", x, x.copy(), x.copy(), np.int32(1))
    out = np.zeros(256, "u2")
    launch("load", x, out, x.copy(), np.int32(0))  # and it runs again afterwards


def test_a_missing_barrier_gives_wrong_sums_and_is_named_as_a_race():
    broken = [("MISSING_BARRIER", "1")]
    x = np.arange(2000, dtype="f4")
    wrong = []
    for seed in (1, 2, 3):
        out = np.full(1, np.nan, "f4")
        compiled.kernels(SOUND, broken)["total"].launch(1, 256, (x, out, np.int32(2000)), seed=seed)
        wrong.append(out[0] != x.sum())
    assert any(wrong)
    out = np.zeros(1, "f4")
    arguments = (x, out, np.int32(2000))
    watched("total", *arguments, threads=64, source=SOUND, sanitizer=RACES)
    assert out[0] == x.sum()
    with pytest.raises(AssertionError, match=r"data race(.|\n)* total .*kernels\.cu"):
        watched("total", *arguments, threads=64, source=SOUND, sanitizer=RACES, defines=broken)


def test_a_shuffle_is_no_barrier_for_memory():
    x = np.zeros(32, "f4")
    watched("neighbors", x, np.zeros(32, "i4"), source=SOUND, sanitizer=RACES)
    with pytest.raises(AssertionError, match=r"data race(.|\n)* missing_warp_barrier "):
        watched("missing_warp_barrier", x, sanitizer=RACES)


def test_accesses_past_the_end_are_found():
    x = np.zeros(64, "f4")
    watched("past_the_end", x, np.int32(32))
    assert x.tolist() == [0] * 32 + [1] * 32
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        watched("past_the_end", x, np.int32(33))
    watched("past_the_chip", x, shared=32)
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        watched("past_the_chip", x, shared=31)
    watched("past_the_array", x, np.int32(0))
    with pytest.raises(AssertionError, match=r"insufficient space|global-buffer-overflow"):
        watched("past_the_array", x, np.int32(1))


def test_overflows_and_misaligned_vectors_are_found():
    x = np.zeros(32, "i4")
    watched("overflow", x, np.int32(2**31 - 32))
    with pytest.raises(AssertionError, match="signed integer overflow"):
        watched("overflow", x, np.int32(2**31 - 31))
    watched("misaligned", np.zeros(32, "f4"), np.int32(4))
    with pytest.raises(AssertionError, match="misaligned address"):
        watched("misaligned", np.zeros(32, "f4"), np.int32(1))


def test_a_write_to_a_read_only_array_is_found():
    x = np.zeros(64, "f4")
    x.flags.writeable = False
    with pytest.raises(AssertionError, match="read-only"):
        watched("past_the_end", x, np.int32(0))


def test_views_of_one_array_stay_so():
    x = np.arange(96, dtype="f4")
    launches = [
        Launch("turn", 1, 32, (x[32:64], np.int32(32)), shared=128),
        Launch("turn", 1, 32, (x, np.int32(96)), shared=384),
    ]
    sanitized.run(SOUND, launches)
    np.testing.assert_array_equal(x, np.r_[95:63:-1, 32:64, 31:-1:-1])


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half_the_warp", r"deadlock .* 16 wait .* for the block, 16 of warp 0 wait"),
        ("two_barriers", "divergent: other threads of the block wait"),
        ("two_shuffles", "divergent: another lane of its warp is"),
        ("foreign_mask", "not in its own mask"),
    ],
)
def test_threads_that_go_apart_are_reported(name, message, seed):
    with pytest.raises(RuntimeError, match=message):
        launch(name, np.zeros(32, "i4"), source=UNSOUND, seed=seed)


def test_a_thread_that_has_ended_says_nothing():
    x = np.ones(32, "f4")
    launch("gone", x, source=UNSOUND)
    assert np.isnan(np.delete(x, 3)).all()


def test_scalars_and_arrays_must_be_of_the_kernels_types():
    x = np.zeros(8, "f4")
    with pytest.raises(TypeError, match=r"kernel turn, argument 1 \(n\): it takes int32.*int64"):
        launch("turn", x, np.int64(8))
    with pytest.raises(TypeError, match=r"\(n\): it takes int32, given is int 8"):
        launch("turn", x, 8)
    with pytest.raises(TypeError, match=r"\(x\): it takes an array of float32.*float64"):
        launch("turn", x.astype("f8"), np.int32(8))
    with pytest.raises(TypeError, match="not contiguous"):
        launch("turn", x[::2], np.int32(4))
    with pytest.raises(ValueError, match="1 arguments; it takes 2: x, n"):
        launch("turn", x)
    with pytest.raises(ValueError, match="multiple of 32 up to 256"):
        launch("total", x, x, np.int32(8), threads=512)


def test_what_does_not_compile_is_reported():
    with pytest.raises(building.CompileError, match=r"kernels.cu:2.*nowhere"):
        compiled.kernels('#include "device.cuh"\nint f() { return nowhere; }\n')


def test_a_device_runs_a_kernel_of_the_backend():
    device = HostDevice()
    parameters = device.upload(np.arange(5, dtype="f4"))
    copy = device.empty((5,), "u2")
    convert = device.kernel("step.cu", "convert", (("FN_BF16", "1"),))
    convert(2, 32, (parameters, copy, np.int64(5)))
    np.testing.assert_array_equal(bf16_to_float32(device.download(copy)), np.arange(5))
    with pytest.raises(TypeError, match=r"argument 0 is not an array of this device"):
        convert(2, 32, (np.arange(5, dtype="f4"), copy, np.int64(5)))
    with pytest.raises(TypeError, match=r"argument 1 is not an array of this device"):
        convert(2, 32, (parameters, HostDevice().empty((5,), "u2"), np.int64(5)))
    with pytest.raises(ValueError, match="bytes of shared memory"):
        convert(2, 32, (parameters, copy, np.int64(5)), shared=device.shared_bytes + 1)
    with pytest.raises(ValueError, match="has no kernel 'convrt'"):
        device.kernel("step.cu", "convrt", (("FN_BF16", "1"),))


def test_memory_is_counted():
    device = HostDevice(memory_bytes=1 << 20)
    first = device.empty((1 << 17,), "f4")
    assert np.isnan(plain(first)).all()
    part = first[:4].reshape(2, 2)
    assert device.holds(part)
    assert not device.holds(np.zeros(3))
    assert device.memory() == (1 << 19, 1 << 20)
    with pytest.raises(MemoryError, match="are free"):
        device.empty((1 << 18,), "f4")
    del first
    gc.collect()
    assert device.memory()[0] == 1 << 19  # a part keeps the whole
    del part
    gc.collect()
    assert device.memory()[0] == 1 << 20


def test_arrays_of_the_device_are_not_computed_with():
    x = HostDevice().upload(np.zeros(3))
    with pytest.raises(TypeError):
        x + 1
    with pytest.raises(TypeError):
        np.concatenate([x, x])


def test_a_graph_is_recorded_and_replayed():
    device = HostDevice()
    x, y = device.upload(np.arange(4, dtype="f4")), device.empty((4,), "f4")
    turn = compiled.kernels(SOUND)["turn"]

    def work():
        device.launch(turn, 1, 32, (x, np.int32(4)), 16)
        device.copy(y, x)
        for forbidden in (lambda: device.empty((1,), "f4"), lambda: device.download(x)):
            with pytest.raises(RuntimeError, match="while a graph is captured"):
                forbidden()

    graph = device.capture(work)
    assert np.isnan(device.download(y)).all()
    graph.replay(3)
    np.testing.assert_array_equal(device.download(y), [3, 2, 1, 0])


def test_staged_copies_come_late_and_in_order():
    device = HostDevice()
    sources = [device.pinned((4,), "f4") for _ in range(2)]
    targets = [device.upload(np.zeros(4, "f4")) for _ in range(2)]
    for i, source in enumerate(sources):
        source[:] = i + 1
    start = device.event()
    events = [device.stage(t, s, start) for t, s in zip(targets, sources, strict=True)]
    assert np.isnan(device.download(targets[0])).all()
    sources[0][:] = 7  # too early, and so it shows
    device.wait_for(events[1])
    assert [device.download(t)[0] for t in targets] == [7, 2]
    assert events[1].milliseconds_since(start) >= 0


@pytest.mark.parametrize("operands", [FLOAT64, FLOAT32, TF32, BF16, FP16], ids=lambda n: n.name)
@pytest.mark.parametrize("epilogue", Epilogue)
def test_products_and_their_epilogues(operands, epilogue):
    device = HostDevice()
    spec = ProductSpec(5, 7, 11, True, False, operands, operands, epilogue)
    product = device.product(spec)
    if operands == FLOAT64 and epilogue is not Epilogue.NONE:
        assert product is None
        return
    rng = np.random.default_rng(4)
    stored = float32_to_bf16 if operands == BF16 else lambda v: v.astype(operands.store)
    read = bf16_to_float32 if operands == BF16 else lambda v: v.astype(operands.real)
    a, b = stored(rng.normal(size=(11, 5))), stored(rng.normal(size=(11, 7)))
    bias = stored(rng.normal(size=7))
    bits = rng.integers(0, 2, (5, 7), dtype="u1")
    mask = np.zeros((5, spec.mask_row_bytes), "u1")
    mask[:, :1] = np.packbits(bits, axis=1, bitorder="little")
    out = device.empty((5, 7), operands.store)
    on_device = [device.upload(x) for x in (a, b)]
    bias_there, mask_there = device.upload(bias), device.upload(mask)
    product(*on_device, out, bias_there, mask_there)
    wide_a, wide_b = read(a).astype("f8"), read(b).astype("f8")
    if operands == TF32:
        wide_a, wide_b = round_tf32(read(a)).astype("f8"), round_tf32(read(b)).astype("f8")
    right = wide_a.T @ wide_b
    if epilogue.value.endswith("bias"):
        right = right + read(bias)
    if epilogue is Epilogue.MASK:
        right = right * bits
    before = right
    if "relu" in epilogue.value:
        right = np.maximum(right, 0)
    near = {"rtol": 0, "atol": max(2.0**-operands.mantissa, 2.0**-20) * 8}
    np.testing.assert_allclose(read(device.download(out)), right, **near)
    sums = read(device.download(bias_there))
    if epilogue is Epilogue.SUMS:
        np.testing.assert_allclose(sums, wide_b.sum(0), **near)
    if epilogue is Epilogue.RELU_MASK_BIAS:
        made = np.unpackbits(device.download(mask_there), axis=1, bitorder="little")
        np.testing.assert_array_equal(made[:, :7], before > 0)


def test_a_relu_epilogue_may_lose_nan():
    device = HostDevice()
    spec = ProductSpec(1, 1, 1, False, False, FLOAT32, FLOAT32, Epilogue.RELU_BIAS)
    a, one = device.upload(np.full((1, 1), np.nan, "f4")), device.upload(np.ones((1, 1), "f4"))
    out = device.empty((1, 1), "f4")
    device.product(spec)(a, one, out, one, None)
    assert device.download(out)[0, 0] == 0
    assert HostDevice(epilogues=False).product(spec) is None
    with pytest.raises(ValueError, match="lies in what it reads"):
        device.product(spec)(a, one, a, one, None)
    pair = device.upload(np.ones(2, "f4"))
    with pytest.raises(ValueError, match="b is not aligned"):
        device.product(spec)(a, pair[1:], out, one, None)
