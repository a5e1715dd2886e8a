"""Random streams: Random123's known answers, and what is made of the words."""

import numpy as np
import pytest
from compare import assert_same_bits
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastnet as fn
from fastnet import random

ONES = 0xFFFFFFFF

#: Counter, key, result: philox4x32-10 in kat_vectors of Random123.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("count", [3, 32, 33])
@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, wanted, count):
    arrays = tuple(np.full(count, word, np.uint64) for word in counter)
    found = random.philox(arrays, key)
    assert found.dtype == np.uint32
    assert found.tolist() == [list(wanted)] * count


def one_word(seed, purpose, stream, i, part=0):
    """Word `i` by plain integer arithmetic, from the address in random.py's docstring."""
    counter = [i // 4, stream & ONES, part, purpose + 256 * (stream >> 32)]
    key = [seed & ONES, seed >> 32]
    for _ in range(10):
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second & ONES,
            (first >> 32) ^ counter[3] ^ key[1],
            first & ONES,
        ]
        key = [(key[0] + 0x9E3779B9) & ONES, (key[1] + 0xBB67AE85) & ONES]
    return counter[i % 4]


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**64 - 1),
    purpose=st.integers(1, 5),
    stream=st.integers(0, 2**56 - 1),
    part=st.integers(0, 2**32 - 1),
    place=st.integers(0, 200),
)
@example(seed=2**63 + 1, purpose=3, stream=2**40 + 5, part=7, place=6)
@example(seed=2**64 - 1, purpose=5, stream=2**56 - 1, part=2**32 - 1, place=50)
def test_a_word_is_found_at_its_address(seed, purpose, stream, part, place):
    found = random.words(seed, purpose, stream, place + 1, part)
    assert int(found[place]) == one_word(seed, purpose, stream, place, part)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 128, 129, 16_383, 16_384, 16_385, 40_000])
def test_more_words_begin_with_the_fewer(count):
    assert_same_bits(
        random.words(5, random.SHUFFLE, 2, count),
        random.words(5, random.SHUFFLE, 2, 50_000)[:count],
    )


@pytest.mark.parametrize("count", [1, 2, 3, 100, 65_537])
def test_a_permutation_holds_every_number_once(count):
    order = random.permutation(3, random.SHUFFLE, 0, count)
    assert order.dtype == np.intp
    assert (np.sort(order) == np.arange(count)).all()


def test_a_permutation_depends_on_seed_purpose_and_stream():
    orders = {
        tuple(random.permutation(seed, purpose, stream, 20))
        for seed in (1, 2**33)
        for purpose in (random.SHUFFLE, random.SPLIT)
        for stream in (0, 1, 2**32)
    }
    assert len(orders) == 12


def test_every_place_of_a_permutation_is_as_likely():
    orders = np.stack([random.permutation(1, random.SHUFFLE, e, 6) for e in range(3_000)])
    for place in range(6):
        counts = np.bincount(orders[:, place], minlength=6)
        # Chi-square with 5 degrees of freedom is below 25.7 in 99.99 of 100 cases.
        assert ((counts - 500) ** 2 / 500).sum() < 25.7


def test_uniform_numbers_fill_the_open_interval_evenly():
    u = random.uniform(7, random.WEIGHTS, 0, 200_000)
    assert u.dtype == np.float64
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    # Five standard errors: sqrt(1 / 12 / n) for the mean, sqrt(1 / 180 / n) for the variance.
    assert abs(u.mean() - 1 / 2) < 5 * (1 / 12 / 200_000) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / 200_000) ** 0.5
    assert len(np.unique(u)) == 200_000


def test_the_smallest_and_largest_words_stay_inside_the_open_interval(monkeypatch):
    for word in (0, ONES):
        monkeypatch.setattr(random, "words", lambda *a, w=word: np.full(a[3], w, np.uint32))
        (u,) = random.uniform(0, 1, 0, 1)
        assert 0 < u < 1


def test_normal_numbers_have_the_moments_of_the_standard_normal():
    n = 200_000
    z = random.normal(7, random.WEIGHTS, 0, n)
    assert abs(z.mean()) < 5 / n**0.5
    assert abs(z.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((z**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 5 / (n / 2) ** 0.5


#: The first and the last of some streams, to the last bit, on every processor.
NORMAL_BITS = {
    (1, 1, 0, 6): (
        "-0x1.e72940a9b3154p-2", "0x1.1f146dcdc14d2p+1", "-0x1.2616c183310b4p-2",
        "0x1.287ce6458ef47p+1", "0x1.d0f982586a376p-1", "-0x1.6d3d61e0ccf32p+0",
    ),
    (2**63 + 5, 5, 9, 100_000): ("-0x1.98befae51d2abp+0", "-0x1.adac1f3933255p-1"),
}  # fmt: skip


def test_normal_numbers_are_the_same_on_every_machine():
    for address, bits in NORMAL_BITS.items():
        found = random.normal(*address)[-len(bits) :]
        assert [float(number).hex() for number in found] == list(bits)


def test_normal_numbers_are_those_of_the_exact_functions():
    mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed")
    with mpmath.workdps(40):
        u = random.uniform(3, random.WEIGHTS, 0, 2_000)
        u[:8] = 2.0**-54, 2.0**-40, 2.0**-9, 1 - 2.0**-53, 1 - 2.0**-20, 0.25, 0.5, 0.75
        logs = random._log(u)
        cos, sin = random._on_circle(u)
        for i, exact in enumerate(map(mpmath.mpf, u)):
            log = mpmath.log(exact)
            assert abs(logs[i] - log) <= 1 * np.spacing(abs(float(log)))
            turn = 2 * mpmath.pi * exact
            assert abs(cos[i] - mpmath.cos(turn)) <= 2.0**-52
            assert abs(sin[i] - mpmath.sin(turn)) <= 2.0**-52


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_an_odd_count_of_normal_numbers_begins_the_longer_one(count):
    assert_same_bits(
        random.normal(3, random.WEIGHTS, 1, count), random.normal(3, random.WEIGHTS, 1, 9)[:count]
    )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_it_should(rate):
    n = 100_000
    kept = random.words(1, random.DROPOUT, 4, n) >= random.keep_threshold(rate)
    assert abs(kept.mean() - (1 - rate)) < 5 * (rate * (1 - rate) / n) ** 0.5


def test_the_threshold_of_a_rate_fits_a_word():
    assert random.keep_threshold(0.5) == 2**31
    assert random.keep_threshold(0.25) == 2**30
    assert random.keep_threshold(1 - 2**-53) == ONES


def test_fresh_seeds_differ_and_are_told():
    network = fn.Network(2, [fn.Dense(3)])
    models = [fn.Model(network, backend="numpy") for _ in range(5)]
    assert len({model.seed for model in models}) == 5
    again = fn.Model(network, backend="numpy", seed=models[0].seed)
    assert_same_bits(again.parameters.flat, models[0].parameters.flat)


@pytest.mark.parametrize(
    ("name", "limit", "deviation"),
    [
        ("glorot_uniform", (6 / 500) ** 0.5, (2 / 500) ** 0.5),
        ("glorot_normal", None, (2 / 500) ** 0.5),
        ("he_uniform", (6 / 200) ** 0.5, (2 / 200) ** 0.5),
        ("he_normal", None, (2 / 200) ** 0.5),
        ("lecun_uniform", (3 / 200) ** 0.5, (1 / 200) ** 0.5),
        ("lecun_normal", None, (1 / 200) ** 0.5),
        ("normal", None, 1.0),
    ],
)
def test_an_initializer_has_the_spread_of_its_formula(name, limit, deviation):
    network = fn.Network(200, [fn.Dense(300, init=name)])
    model = fn.Model(network, backend="numpy", dtype="float64", seed=1)
    w = model.parameters["0.weight"]
    assert abs(w.mean()) < 5 * deviation / w.size**0.5
    assert w.std() == pytest.approx(deviation, rel=0.02)
    if limit is not None:
        assert 0.999 * limit < np.abs(w).max() <= limit
    assert (model.parameters["0.bias"] == 0).all()


def test_layers_of_one_shape_start_from_different_weights():
    network = fn.Network(4, [fn.Dense(4), fn.Dense(4)])
    model = fn.Model(network, backend="numpy", seed=1)
    assert (model.parameters["0.weight"] != model.parameters["1.weight"]).any()
