"""The random stream: its words, what is made of them, and that neither ever changes."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flagstone import random
from flagstone.errors import InputError

WORD = st.integers(0, 2**64 - 1)
ALL_ONES = 2**64 - 1


def words_of(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def digest(array: np.ndarray) -> str:
    """SHA-256 of the values in order, little-endian, whatever the machine."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def philox4x64(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox4x64-10 as Salmon et al. define it, in Python's integers: one block of four words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [(b >> 64) ^ c[1] ^ k[0], b & ALL_ONES, (a >> 64) ^ c[3] ^ k[1], a & ALL_ONES]
        k = [(k[0] + 0x9E3779B97F4A7C15) & ALL_ONES, (k[1] + 0xBB67AE8584CAA73B) & ALL_ONES]
    return c


# ------------------------------------------------------------------------------------- the words

# Random123's kat_vectors, the rows "philox4x64 10": counter, key, block.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (ALL_ONES,) * 4,
        (ALL_ONES,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN_ANSWERS)
def test_definition_gives_random123s_known_answers(counter, key, block):
    assert philox4x64(counter, key) == list(block)


@given(key=st.tuples(WORD, WORD), step=WORD, epoch=WORD, start=st.integers(0, 2**64 - 4))
def test_bits_are_philox4x64_10_of_the_address(key, step, epoch, start):
    got = random.bits(words_of(*key), (step, epoch), start, 3)
    want = [w for i in (1, 2, 3) for w in philox4x64((start + i, step, epoch, 0), key)]
    assert got.dtype == np.uint64
    assert got.tolist() == want


@given(key=st.tuples(WORD, WORD), step=WORD, epoch=WORD, start=st.integers(0, 2**64 - 9))
def test_bits_are_numpys_philox(key, step, epoch, start):
    generator = np.random.Philox(key=words_of(*key), counter=words_of(start, step, epoch, 0))
    got = random.bits(words_of(*key), (step, epoch), start, 8)
    np.testing.assert_array_equal(got, generator.random_raw(32))


def test_a_draw_in_pieces_is_the_draw():
    key = random.key(3, "dropout", "hidden")
    whole = random.bits(key, (5, 2), 10, 40)
    pieces = [random.bits(key, (5, 2), 10 + i, 8) for i in range(0, 40, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_a_draw_leaves_no_trace_on_the_next():
    key = random.key(0, "init")
    first = random.bits(key, (0, 0), 0, 3)
    first[:] = 0  # the caller's to keep
    random.bits(random.key(1, "init"), (7, 7), 7, 7)
    assert random.bits(key, (0, 0), 0, 3).tolist()[:4] == philox4x64(
        (1, 0, 0, 0), tuple(key.tolist())
    )


def test_no_blocks_give_no_words():
    none = random.bits(random.key(0, "init"), (0, 0), 0, 0)
    assert none.shape == (0,)
    assert none.dtype == np.uint64


def test_the_last_block_is_reached_and_not_passed():
    key = random.key(0, "init")
    last = random.bits(key, (0, 0), 2**64 - 2, 1)
    assert last.tolist() == philox4x64((2**64 - 1, 0, 0, 0), tuple(key.tolist()))
    with pytest.raises(InputError, match=r"start \+ blocks must be below 2\*\*64; got start"):
        random.bits(key, (0, 0), 2**64 - 2, 2)


def test_threads_do_not_disturb_each_other():
    keys = [random.key(seed, "init") for seed in range(64)]
    want = [random.bits(key, (0, 0), 0, 200) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda key: random.bits(key, (0, 0), 0, 200), keys * 4))
    np.testing.assert_array_equal(got, want * 4)


# ------------------------------------------------------------------------------------------ keys


def test_key_is_the_documented_hash():
    message = (2**40 + 5).to_bytes(8, "little")
    for text in ("init", "block.0/卷积"):
        message += len(text.encode()).to_bytes(8, "little") + text.encode()
    want = hashlib.blake2b(message, digest_size=16, person=b"flagstone/1").digest()
    got = random.key(2**40 + 5, "init", "block.0/卷积")
    assert got.dtype == np.uint64
    assert [w.to_bytes(8, "little") for w in got.tolist()] == [want[:8], want[8:]]


def test_different_arguments_have_different_keys():
    seeds = [0, 1, 255, 256, 2**32, 2**63, 2**64 - 1]
    texts = ["", "a", "b", "ab", "ba", "a\0", "\0a", "init", "dropout"]
    keys = {tuple(random.key(s, p, q).tolist()) for s in seeds for p in texts for q in texts}
    assert len(keys) == len(seeds) * len(texts) ** 2


def test_numpy_integers_are_seeds_too():
    want = random.key(7, "init")
    np.testing.assert_array_equal(random.key(np.int32(7), "init"), want)
    np.testing.assert_array_equal(random.key(np.uint64(7), "init"), want)


# --------------------------------------------------------------------------------- distributions


def test_uniform_is_the_top_24_bits():
    words = words_of(0, 2**40 - 1, 2**40, 2**63, ALL_ONES)
    got = random.uniform(words)
    assert got.dtype == np.float32
    assert got.tolist() == [0.0, 0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24]


def test_uniform_keeps_the_shape():
    assert random.uniform(np.zeros((3, 0, 2), np.uint64)).shape == (3, 0, 2)


def test_uniform_is_uniform():
    draws = random.uniform(random.bits(random.key(0, "test"), (0, 0), 0, 50_000))
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert stats.chisquare(np.bincount((draws * 256).astype(int), minlength=256)).pvalue > 1e-3


def test_box_muller_agrees_with_libm():
    words = random.bits(random.key(1, "test"), (0, 0), 0, 100_000)
    a, b = words[0::2].astype(object), words[1::2].astype(object)
    u = np.array([((w >> 11) + 1) / 2**53 for w in a])  # exact: below 2**53, over a power of two
    turns = np.array([(w >> 11) / 2**53 for w in b])
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * turns
    want = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    got = random.box_muller(words)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=2**-24 * 1.01, atol=1e-14)
    # Rounded to float32, the two may differ only where libm's last digit decides.
    assert np.mean(got != want.astype(np.float32)) < 1e-5


def test_log_is_right_to_the_last_digits():
    words = random.bits(random.key(2, "test"), (0, 0), 0, 25_000)
    small = [1, 2, 3, 2**52, 2**53 - 1, 2**53, int(2**53 * math.sqrt(0.5))]
    n = np.concatenate([(words >> np.uint64(11)).astype(np.int64) + 1, np.arange(1, 999), small])
    n = np.concatenate([n, 2**53 - np.arange(999)])
    want = np.log(n.astype(np.longdouble) * np.longdouble(2.0) ** -53)
    np.testing.assert_allclose(random._log_of_53_bits(n), want.astype(float), rtol=1e-15, atol=0)


def test_cos_and_sin_are_right_to_the_last_digits():
    words = random.bits(random.key(3, "test"), (0, 0), 0, 25_000)
    eighths = np.arange(8) << 50
    edges = np.concatenate([eighths + d for d in (-1, 0, 1, 12_345)])[1:]
    n = np.concatenate([(words >> np.uint64(11)).astype(np.int64), edges])
    turns = n.astype(float) * 2.0**-53  # exact
    cos, sin = random._cos_sin_of_turns(n)
    np.testing.assert_allclose(cos, np.cos(2 * np.pi * turns), rtol=0, atol=2e-15)
    np.testing.assert_allclose(sin, np.sin(2 * np.pi * turns), rtol=0, atol=2e-15)
    np.testing.assert_allclose(cos * cos + sin * sin, 1.0, rtol=0, atol=1e-15)


def test_quarter_turns_are_exact():
    quarters = np.arange(4, dtype=np.int64) << 51
    cos, sin = random._cos_sin_of_turns(quarters)
    assert cos.tolist() == [1.0, 0.0, -1.0, 0.0]
    assert sin.tolist() == [0.0, 1.0, 0.0, -1.0]


def test_box_mullers_extreme_words_are_finite():
    words = words_of(0, 0, ALL_ONES, 0, 0, 2**63, ALL_ONES, ALL_ONES)
    got = random.box_muller(words)
    assert np.isfinite(got).all()
    assert got[0] == pytest.approx(math.sqrt(2 * 53 * math.log(2)), rel=1e-7)
    assert got[2] == 0.0


def test_normal_is_normal():
    draws = random.normal(random.key(0, "test"), 400_000).astype(float)
    n = draws.size
    assert abs(draws.mean()) < 4 / math.sqrt(n)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(stats.skew(draws)) < 4 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(draws)) < 4 * math.sqrt(24 / n)
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(draws[0::2], draws[1::2])[0, 1]) < 4 / math.sqrt(n / 2)


def box_muller_by_hand(a: int, b: int) -> tuple[float, float]:
    """One pair of words in Python's floats, operation by operation: what a CUDA port repeats."""
    m, e = math.frexp(float((a >> 11) + 1))
    m, e = (m * 2.0, e - 54) if m < 0.7071067811865476 else (m, e - 53)
    s = (m - 1.0) / (m + 1.0)
    series = 1.0 / 23.0
    for odd in range(21, 0, -2):
        series = series * (s * s) + 1.0 / odd
    high = float.fromhex("0x1.62e42feep-1")
    low = float.fromhex("0x1.a39ef35793c76p-33")
    radius = math.sqrt(-2.0 * (e * high + (e * low + 2.0 * s * series)))

    n = b >> 11
    quarter = (n + 2**50) >> 51
    x = float(n - quarter * 2**51) * (math.pi * 2.0**-52)
    cos, sin = 1.0 / math.factorial(16), 1.0 / math.factorial(17)
    for k in range(7, -1, -1):
        cos = cos * (x * x) + (-1.0) ** k / math.factorial(2 * k)
        sin = sin * (x * x) + (-1.0) ** k / math.factorial(2 * k + 1)
    sin *= x
    cos, sin = [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)][quarter % 4]
    return radius * cos, radius * sin


def test_box_muller_is_its_definition_bit_for_bit():
    words = random.bits(random.key(4, "test"), (0, 0), 0, 9_000)
    pairs = words.reshape(-1, 2).tolist()
    want = np.array([box_muller_by_hand(a, b) for a, b in pairs]).astype(np.float32)
    np.testing.assert_array_equal(random.box_muller(words), want.reshape(-1))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 16_384, 16_390])
def test_a_shorter_normal_draw_begins_a_longer_one(n):
    key = random.key(9, "init", "dense.weight")
    longer = random.normal(key, 40_001, counter=(3, 1), start=17)
    got = random.normal(key, n, counter=(3, 1), start=17)
    assert got.shape == (n,)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, longer[:n])


def test_normal_is_box_muller_of_the_keys_words():
    key = random.key(9, "init")
    words = random.bits(key, (3, 1), 17, 5)
    got = random.normal(key, 20, counter=(3, 1), start=17)
    np.testing.assert_array_equal(got, random.box_muller(words))


@given(st.lists(WORD, max_size=40).map(lambda ws: np.array(ws, np.uint64)))
def test_permutation_sorts_the_words(words):
    order = random.permutation(words)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(words.size), key=words.tolist().__getitem__)


def test_permutation_keeps_the_order_of_equal_words():
    words = np.tile(words_of(5, 1, 5, 1), 50)
    order = random.permutation(words)
    assert order.tolist() == [*range(1, 200, 2), *range(0, 200, 2)]


def test_every_order_of_four_is_equally_likely():
    words = random.bits(random.key(0, "test"), (0, 0), 0, 24_000)
    orders = [tuple(random.permutation(row)) for row in words.reshape(-1, 4)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert counts.size == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("p", "threshold"),
    [(0, 65536), (1, 0), (0.5, 32768), (0.25, 49152), (0.3, 45875), (2**-17, 65536), (1e-9, 65536)],
)
def test_keep_threshold(p, threshold):
    got = random.keep_threshold(p)
    assert got == threshold
    assert type(got) is int


@settings(max_examples=30)
@given(st.floats(0, 1))
def test_lanes_below_the_threshold_are_kept_with_the_probability(p):
    every_lane = np.arange(65536, dtype=np.uint16)
    assert abs(np.mean(every_lane < random.keep_threshold(p)) - (1 - p)) <= 2**-17


# ----------------------------------------------------------------------------------- frozen bits

GOLDEN_KEY = (0xD6D65E66D64E9847, 0x08D09DF193D0DE06)
GOLDEN = {
    "bits": "17c6cad2d553bcf0415823e479239160267de876c2e3535ebf3b575e261d243d",
    "uniform": "a6b556b9647dd0d791cc4442d68e51a4efce3f71eb9c6001adafdd71da2ac541",
    "normal": "8496cd464e391af59561930a457cf42dc99dea1ccc726678b68e60af8b2cdf63",
    "permutation": "f10440649fa2ccc51bafff46fda82ffd251a5e42a015481befe5027eb8f367eb",
}


def golden_draws() -> dict[str, np.ndarray]:
    key = random.key(20_261_122, "golden", "layer.0")
    words = random.bits(key, (3, 5), 7, 10_000)
    return {
        "bits": words,
        "uniform": random.uniform(words),
        "normal": random.normal(key, 40_000, counter=(3, 5), start=7),
        "permutation": random.permutation(words),
    }


def test_golden_key():
    assert random.SCHEME == 1
    assert tuple(random.key(20_261_122, "golden", "layer.0").tolist()) == GOLDEN_KEY


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_hash(name):
    assert digest(golden_draws()[name]) == GOLDEN[name], (
        f"{name} no longer gives the bits of scheme {random.SCHEME}: every seeded run changes"
    )
