"""What the Numba backend takes a host's caches to be, by what Linux would tell of it."""

import os

import pytest

pytest.importorskip("numba", reason="numba is not installed")

from fastnet_numba.simd import host
from fastnet_numba.simd.host import USUAL, Caches

KIB = 2**10


def tell(root, processor, siblings, **caches):
    """Write what the system tells of one processor: by name, level, size and who shares it."""
    home = root / f"cpu{processor}"
    (home / "topology").mkdir(parents=True)
    (home / "topology" / "thread_siblings_list").write_text(siblings + "\n")
    for number, (name, (level, size, shared)) in enumerate(caches.items()):
        folder = home / "cache" / f"index{number}"
        folder.mkdir(parents=True)
        kind = {"i": "Instruction", "d": "Data"}.get(name[0], "Unified")
        facts = {"type": kind, "level": level, "size": size, "shared_cpu_list": shared}
        for fact, value in facts.items():
            (folder / fact).write_text(f"{value}\n")


def asked(root, monkeypatch, online="0"):
    (root / "online").write_text(f"{online}\n")
    monkeypatch.setattr(host, "SYSTEM", root)
    host.caches.cache_clear()
    try:
        return host.caches()
    finally:
        host.caches.cache_clear()


def test_two_threads_of_a_core_have_its_caches_together(tmp_path, monkeypatch):
    tell(tmp_path, 0, "0,4", d=(1, "48K", "0,4"), i=(1, "64K", "0,4"), u=(2, "2048K", "0,4"),
         v=(3, "32768K", "0-7"))  # fmt: skip
    assert asked(tmp_path, monkeypatch) == Caches(48 * KIB, 2048 * KIB)


def test_cores_that_share_a_cache_have_a_part_each_and_the_smaller_core_counts(
    tmp_path, monkeypatch
):
    tell(tmp_path, 0, "0-1", d=(1, "48K", "0-1"), u=(2, "1280K", "0-1"))
    tell(tmp_path, 15, "15", d=(1, "32K", "15"), u=(2, "2048K", "12-15"))
    for usable in ({0, 1, 15}, {0}, {15}):  # the same blocks for all, so the same bits
        monkeypatch.setattr(os, "sched_getaffinity", {0: usable}.get, raising=False)
        assert asked(tmp_path, monkeypatch, "0-1,15") == Caches(32 * KIB, 512 * KIB)
    assert asked(tmp_path, monkeypatch, "0-1") == Caches(48 * KIB, 1280 * KIB)


@pytest.mark.parametrize(
    "caches",
    [{}, {"d": (1, "0K", "0"), "u": (2, "", "0")}, {"d": ("one", "32K", "0")}],
    ids=["nothing", "no sizes", "no level"],
)
def test_what_a_host_does_not_tell_is_as_usual(caches, tmp_path, monkeypatch):
    tell(tmp_path, 0, "", **caches)
    assert asked(tmp_path, monkeypatch) == USUAL
