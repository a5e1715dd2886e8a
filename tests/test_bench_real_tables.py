"""The report on real tables says to whom fastnet loses, and by how much."""

import json

from bench.real_tables.showing import report


def test_what_is_lost_is_said(tmp_path):
    def scores(*values):
        return [{"score": value, "seconds": 0.5} for value in values]

    facts = {
        "date": "2026-11-28",
        "machine": "a machine",
        "versions": {"numpy": "2.4"},
        "tables": {"one": {"task": "classification"}, "two": {"task": "regression"}},
        "scores": {
            "fastnet": {"one": scores(0.75, 0.85), "two": scores(0.5, 0.7)},
            "fastnet, 8 members": {"one": scores(0.8, 0.9)},
            "trees": {"one": scores(0.8, 0.8), "two": scores(0.7, 0.7)},
            "late": {"one": scores(0.9, 0.9)},
        },
    }
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(facts))
    lines = report(path)
    assert (
        "| one | accuracy | 0.800 ± 0.050, 0.5 s | 0.850 ± 0.050, 0.5 s | 0.800 ± 0.000, 0.5 s | "
        "**0.900** ± 0.000, 0.5 s |"
    ) in lines
    assert (
        "| two | R² | 0.600 ± 0.100, 0.5 s | not measured | **0.700** ± 0.000, 0.5 s | "
        "not measured |"
    ) in lines
    assert "- trees: fastnet, 8 members, is at or above it on 1 of 1." in lines
    assert (
        "- trees: fastnet is at or above it on 1 of 2; behind on two by 0.1000 ± 0.1000." in lines
    )
    assert "- late: fastnet is at or above it on 0 of 1; behind on one by 0.1000 ± 0.0500." in lines
