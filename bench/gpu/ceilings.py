"""What this machine does at best: copies, and large matrix products. Floors are counted by them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu.contests import Contest
from fastnet.contract.program import Program
from fastnet_cupy.device import Device, Epilogue, ProductSpec
from fastnet_cupy.precision import BF16, FLOAT32, FP16, TF32, Number, float32_to_bf16

#: Times that each is done, and sets of operands, between which they take turns.
TIMES, SETS = 10, 2

#: Random numbers that are drawn: a prime, so that no two rows of a matrix begin alike.
DRAWN = 1_048_573

NUMBERS = {number.name: number for number in (FLOAT32, TF32, BF16, FP16)}


def _median(device: Device, work: Callable[[int], None]) -> float:
    """Seconds of one `work`, by the device's events, after two that do not count."""
    for turn in range(2):
        work(turn)
    seconds = []
    for turn in range(TIMES):
        start = device.event()
        work(turn)
        seconds.append(device.event().milliseconds_since(start) / 1e3)
    return statistics.median(seconds)


def _filled(device: Device, entries: int, number: Number, seed: int = 1) -> Any:
    """Random numbers on the device: a few are drawn, and doubled there until they are enough."""
    drawn = np.random.default_rng(seed).standard_normal(min(DRAWN, entries), np.float32)
    drawn = float32_to_bf16(drawn) if number == BF16 else drawn.astype(number.store)
    array = device.empty((entries,), number.store)
    done = len(drawn)
    device.copy(array[:done], drawn)
    while done < entries:
        more = min(done, entries - done)
        device.copy(array[done : done + more], array[:more])
        done += more
    return array


def copy(device: Device, entries: int = 2**28) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    source = _filled(device, entries, FLOAT32)
    target = device.empty((entries,), "float32")
    return 2 * 4 * entries / _median(device, lambda turn: device.copy(target, source))


def product(device: Device, number: Number, size: int = 8192) -> float:
    """Operations a second of a square product, by the library that the backend has them from."""
    spec = ProductSpec(size, size, size, False, False, number, number)
    multiply = device.product(spec)
    assert multiply is not None, "a product without an epilogue is always there"
    matrices = [_filled(device, size * size, number, seed) for seed in range(2 * SETS)]
    pairs = list(zip(matrices[::2], matrices[1::2], strict=True))
    out = device.empty((size, size), number.store)

    def work(turn: int) -> None:
        multiply(*pairs[turn % SETS], out, None, None)

    return 2 * size**3 / _median(device, work)


def sums(
    device: Device, inputs: int = 4096, units: int = 4096, rows: int = 8192
) -> dict[str, float | None]:
    """Microseconds of a weight's gradient in bf16: "none" alone, "sums" with the bias's beside it.

    None where the library does not have it.
    """
    x, d = (_filled(device, rows * n, BF16, n).reshape(rows, n) for n in (inputs, units))
    out, bias = device.empty((inputs, units), "float32"), device.empty((units,), "float32")
    found: dict[str, float | None] = {}
    for epilogue in (Epilogue.NONE, Epilogue.SUMS):
        spec = ProductSpec(inputs, units, rows, True, False, BF16, FLOAT32, epilogue)
        multiply = device.product(spec)
        given = x, d, out, None if epilogue is Epilogue.NONE else bias, None
        found[epilogue.value] = (
            None if multiply is None
            else 1e6 * _median(device, lambda turn, call=multiply, of=given: call(*of))  # type: ignore[misc]
        )  # fmt: skip
    return found


def sent(device: Device, bytes_: int) -> float:
    """Bytes a second of a copy from the host, by the processor's clock."""
    array = np.ones(bytes_, np.uint8)
    target = device.empty(array.shape, array.dtype)
    seconds = []
    for _ in range(TIMES // 2):
        begun = time.perf_counter()
        device.copy(target, array)
        device.download(target[:1])
        seconds.append(time.perf_counter() - begun)
    return bytes_ / statistics.median(seconds)


def shuffled(program: Program, rows: int) -> float:
    """Rows a second that `program.orders` shuffles, by the processor's clock; they stay there."""
    seconds = []
    for epoch in range(TIMES // 2):
        begun = time.perf_counter()
        program.to_host(program.orders(1, range(epoch, epoch + 1), rows)[:, :1])
        seconds.append(time.perf_counter() - begun)
    return rows / statistics.median(seconds)


def measure(device: Device, entries: int = 2**28, size: int = 8192) -> dict[str, float]:
    """All ceilings: "copy" in bytes a second, and each precision's operations a second."""
    found = {"copy": copy(device, entries)}
    for name, number in NUMBERS.items():
        found[name] = product(device, number, size)
    return found


def floor(contest: Contest, ceilings: dict[str, float]) -> float:
    """Seconds that a step takes at least: max(flops / rate, bytes / copy).

    `flops` and `bytes` are `Contest`'s, counted for a step that keeps everything between its
    layers on the chip; `rate` is the measured one of the contest's precision. For a handful of
    rows it says little: there it is one instruction waiting for another that takes the time.
    """
    operations = contest.flops / ceilings[contest.precision]
    return max(operations, contest.bytes / ceilings["copy"])
