"""The report on real tables says to whom fastnet loses, by how much, and from how many splits."""

import json

from bench.real_tables.showing import report


def test_what_is_lost_is_said(tmp_path):
    def scores(*values):
        return [{"score": value, "seconds": 0.5} for value in values]

    facts = {
        "date": "2026-11-29",
        "dates": {
            "fastnet": {"one": "2026-11-29", "two": "2026-11-29"},
            "trees": {"one": "2026-11-28", "two": "2026-11-29"},
            "late": {"one": "2026-11-28"},
        },
        "machine": "a machine",
        "versions": {"numpy": "2.4"},
        "tables": {"one": {"task": "classification"}, "two": {"task": "regression"}},
        "scores": {
            "fastnet": {"one": scores(0.75, 0.85), "two": scores(0.5, 0.7)},
            "fastnet, 8 members": {"one": scores(0.8, 0.9)},
            "trees": {"one": scores(0.8, 0.8), "two": scores(0.7, 0.7)},
            "late": {"one": scores(0.9, 0.9)},
            "slow": {"two": scores(0.7, 0.9, 0.8)},
        },
    }
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(facts))
    lines = report(path)
    assert (
        "| one | 2 | accuracy | 0.800 ± 0.050, 0.5 s | 0.850 ± 0.050, 0.5 s | "
        "0.800 ± 0.000, 0.5 s | **0.900** ± 0.000, 0.5 s | not measured |"
    ) in lines
    assert (
        "| two | 3 | R² | 0.600 ± 0.100, 0.5 s, 2 splits | not measured | "
        "0.700 ± 0.000, 0.5 s, 2 splits | not measured | 0.800 ± 0.082, 0.5 s |"
    ) in lines
    assert "- Measured 2026-11-29 (trees, late on one: 2026-11-28) on a machine" in lines
    assert "- trees: fastnet, 8 members, is at or above it on 1 of 1." in lines
    assert (
        "- trees: fastnet is at or above it on 1 of 2; behind on two by 0.1000 ± 0.1000." in lines
    )
    assert "- late: fastnet is at or above it on 0 of 1; behind on one by 0.1000 ± 0.0500." in lines
    # The third split of `slow` has nothing to be compared with.
    assert "- slow: fastnet is at or above it on 0 of 1; behind on two by 0.2000 ± 0.0000." in lines
