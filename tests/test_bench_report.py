"""The benchmarks' report: its numbers, its charts, and the files that it refuses."""

import html
import json
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

pytest.importorskip("bench.report", reason="the benchmarks are not beside these tests")
pytest.importorskip("matplotlib", reason="charts are drawn by matplotlib")

from matplotlib.text import Text

from bench.records import Record
from bench.report import charts, quantities, results
from bench.report.__main__ import main, report

ROOT = Path(__file__).parents[1]
FAMILIES = {"numpy": "fastnet", "numba": "fastnet", "cupy": "fastnet", "by hand": "hand"}


def benchmark(kind, workload, contestant, seconds, **more):
    """As pytest-benchmark stores it: the quartiles a tenth below and above the median."""
    fields = {"what": "32-64-1, relu, float32", "unit": "step", "threads": 1, **more}
    record = Record(kind, workload, contestant, FAMILIES.get(contestant, "peer"), **fields)
    spread = {"min": 0.8, "q1": 0.9, "median": 1.0, "q3": 1.1, "max": 1.2}
    stats = {name: factor * seconds for name, factor in spread.items()}
    return {"name": workload, "extra_info": {"record": record.to_dict()}, "stats": stats}


def training(workload, seconds, **more):
    return [benchmark("training", workload, who, time, **more) for who, time in seconds.items()]


def ceilings(flops, copied, threads=1):
    rates = ("matrix product", flops / 2), ("matrix product", flops), ("copy", copied)
    return [benchmark("ceiling", of, "numpy", 1.0, threads=threads, rate=r) for of, r in rates]


def run(benchmarks, processors=2, **suite):
    machine = {"cpu": {"brand_raw": "A Processor", "count": processors}}
    return {"machine_info": machine, "datetime": "", "fastnet": suite, "benchmarks": benchmarks}


def stored(folder, *runs):
    """The paths of files with these runs."""
    paths = [folder / f"run{i}.json" for i in range(len(runs))]
    for path, content in zip(paths, runs, strict=True):
        path.write_text(json.dumps(content))
    return paths


def texts(folder, *runs):
    """The report and the tables, with x for "times" and - for nothing."""
    written = report(results.read(stored(folder, *runs)), folder)
    both = (written[name].decode() for name in ("REPORT.md", "TABLES.md"))
    return [text.replace("\u00d7", "x").replace(quantities.NOTHING, "-") for text in both]


def row(text, heading, workload):
    """The last row of a workload in the table below a heading."""
    lines = text.partition(f"## {heading}")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip("* ") for cell in line.strip("|").split(" | ")] for line in lines]
    return [each[1:] for each in cells if re.match(rf"{workload}\b", each[0])][-1]


SMALL = {"torch": 999.6e-6, "numba": 8e-6, "numpy": 100e-6, "jax": 20e-6}
TIMES, RATIOS = "Time of a training step, with ", "fastnet, peers and the machine, with "


def test_numbers_are_those_of_the_file(tmp_path):
    counted = {"flops": 8e5, "bytes": 8e4, "warm_up": 2.5, "difference": 1.5e-7}
    page, tables = texts(tmp_path, run([*training("tab", SMALL, **counted), *ceilings(2e11, 1e10)]))
    assert row(tables, TIMES, "tab") == ["8.00 µs", "100 µs", "1.00 ms", "20.0 µs"]
    against = ["numba", "12.5x", "2.50x (jax)", "100 GFLOP/s", "50.0 %", "10.0 GB/s", "100 %"]
    assert row(tables, RATIOS, "tab") == against
    jax = ["jax", "20.0 µs", "18.0 µs to 22.0 µs", "16.0 µs to 24.0 µs", "1", "2.50 s", "1.5e-07"]
    assert row(tables, "Every measurement", "tab") == jax
    assert "200 GFLOP/s in matrix products, 10.0 GB/s in copies" in page
    assert "fastnet numba is 12.5 times as fast as NumPy and 2.50 times as fast as" in page
    assert "within 1.5e-07 of the largest value" in page
    assert "- nothing that was measured" in page


def test_each_run_is_compared_with_its_own_ceilings(tmp_path):
    ceiling = {"tab": 2e11, "wide": 1e11}
    runs = [
        run(training(name, SMALL, flops=8e5) + ceilings(c, 1e10)) for name, c in ceiling.items()
    ]
    _, tables = texts(tmp_path, *runs)
    assert [row(tables, RATIOS, name)[4] for name in ceiling] == ["50.0 %", "100 %"]


def test_float64_is_compared_with_its_own_ceiling(tmp_path):
    double = benchmark("ceiling", "matrix product, float64", "numpy", 1.0, rate=1e11)
    found = training("single", SMALL, flops=8e5) + ceilings(2e11, 1e10) + [double]
    found += training("double", SMALL, flops=8e5, what="32-64-1, relu, float64")
    page, tables = texts(tmp_path, run(found, processor="avx2"))
    assert [row(tables, RATIOS, name)[4] for name in ("single", "double")] == ["50.0 %", "100 %"]
    assert "200 GFLOP/s in matrix products (100 GFLOP/s in float64)" in page
    assert "2 processors, every library told that it has AVX2 only" in page


def test_the_map_has_shares_of_the_ceiling_and_ratios_to_the_best_peer(tmp_path):
    found = training("map 8 x 16", SMALL, axis="map 16", value=8, flops=8e5)
    found += training("map 4 x 1", {"numba": 4e-6}, axis="map 1", value=4, flops=8e4)
    read = results.read(stored(tmp_path, run(found + ceilings(2e11, 1e10))))
    cells = charts.map_cells(read, read.cases(1, "training"))
    assert cells.pop((4, 1)) == (pytest.approx(0.1), None)
    assert cells == {(8, 16): pytest.approx((0.5, 2.5))}


def test_losses_are_listed_and_nothing_that_was_not_measured(tmp_path):
    sizes = {"numba": 3e8, "torch": 2e8}
    found = [benchmark("process", "size", who, 1.0, amount=size) for who, size in sizes.items()]
    found += training("won", {"numba": 1e-3, "numpy": 1e-2, "jax": 2e-3})
    found += training("lost", {"numba": 1e-3, "jax": 5e-4}, flops=1e6)
    found += training("close", {"numpy": 1.1e-3, "by hand": 1e-3})
    page, tables = texts(tmp_path, run(found))
    assert row(tables, TIMES, "close") == ["-", "1.10 ms", "1.00 ms", "-"]
    assert row(tables, RATIOS, "close") == ["numpy", *"------"]
    assert row(tables, RATIOS, "lost") == ["numba", "-", "0.500x (jax)", "1.00 GFLOP/s", *"---"]
    assert "as NumPy was not measured: lost." in page
    assert re.findall("(?m)^- [*].*", page) == [
        "- **lost**, 1 thread: fastnet numba 1.00 ms, jax 500 µs (2.00x)",
        "- **close**, 1 thread: fastnet numpy 1.10 ms, by hand 1.00 ms (1.10x; their quartiles "
        "overlap)",
        "- **size**, 1 thread: fastnet numba 300 MB, torch 200 MB (1.50x)",
    ]


@pytest.mark.parametrize("page", [p.relative_to(ROOT) for p in ROOT.glob("bench/**/REPORT.md")])
def test_the_committed_reports_are_those_of_the_committed_results(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = page.parent
    names = re.findall(r"\]\((\S*results/\S+\.json)\)", page.read_text("utf-8"))
    written = report(results.read([folder / name for name in dict.fromkeys(names)]), folder)
    for name in ("REPORT.md", "TABLES.md"):
        assert written.pop(name).decode() == Path(folder, name).read_text("utf-8")
    assert sorted(written) == sorted(f"charts/{p.name}" for p in (folder / "charts").iterdir())


#: All contestants, and one with a name that needs room and escapes.
LONG = "a <library> | whose & name $is$ long"
FULL = [
    *training("tab", {who: 1e-4 * (i + 1) for i, who in enumerate((*results.ORDER, LONG))}),
    *training("far", {"numpy": 3.0, "numba": 1e-3, LONG: 1e-3}),
    *training("width 8", SMALL | {LONG: 1e-4}, axis="width", value=8, flops=1e4),
    *training("chain", {"numpy": 1e-3, "numba": 1e-4}),
    *training("map 8 x 16", SMALL, axis="map 16", value=8, flops=4e5),
    *training("map 1024 x 65536", SMALL, axis="map 65536", value=1_024, flops=4e5),
    *training("depth 1", {"numpy": 1.0}, axis="depth", value=1),
    *(benchmark("prediction", "predict 1", who, 1e-6) for who in SMALL),
    *(benchmark("process", "memory", who, 1.0, amount=1e8) for who in SMALL),
    *ceilings(1e11, 1e10),
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The files of a report, the same made again, and each figure's texts with their boxes."""
    folder, boxes, draw = tmp_path_factory.mktemp("full"), {}, Text.draw
    found = results.read(stored(folder, run(FULL, left_out=["no\nGPU <here>"])))

    def record(text, renderer):
        draw(text, renderer)
        if text.get_text() and text.get_visible():
            boxes.setdefault(text.figure, {})[text] = text.get_window_extent(renderer)

    first = report(found, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        return first, report(found, folder), boxes


def test_charts_are_shown_described_and_the_same_each_time(drawn):
    first, again = map(dict, drawn[:2])
    assert first == again
    page = first.pop("REPORT.md").decode()
    assert "- no GPU &lt;here&gt;" in page
    assert "<library>" not in page + first.pop("TABLES.md").decode()
    assert sorted(re.findall(r'src(?:set)?="([^"]+)"', page)) == sorted(first)
    alts = dict(re.findall(r'<img alt="([^"]+)" src="([^"]+)"', page))
    for alt, light in alts.items():
        for name in (light, light.replace(".svg", "-dark.svg")):
            title, description = ET.fromstring(first[name])[:2]
            assert html.escape(description.text) == alt
            assert alt.startswith(f"{title.text}: ")
    assert len(alts) == 6
    assert "published: 164 µs, by [SimpleChains.jl]" in page


def test_text_lies_within_the_chart_and_not_on_other_text(drawn):
    boxes = drawn[2]
    assert len(boxes) == 12
    for figure, found in boxes.items():
        for text, box in found.items():
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
        for one, other in combinations(found, 2):
            assert not found[one].padded(-1).overlaps(found[other].padded(-1)), (one, other)


def changed(stats=(), **record):
    content = run(training("tab", {"numpy": 1e-3}))
    content["benchmarks"][0]["extra_info"]["record"].update(record)
    content["benchmarks"][0]["stats"].update(stats)
    return content


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([[]], "was not written by this suite"),
        ([run([{"extra_info": {}}])], "no benchmark has a record"),
        ([changed(new=1)], "missing or unknown fields in a record: new"),
        ([changed(flops=None)], "flops of 'tab' is None"),
        ([changed({"median": 0.0})], "median of 'tab' is 0.0"),
        (
            [changed(), run(FULL, 4)],
            "machines (A Processor, 2 processors; A Processor, 4",
        ),
        ([changed(), changed()], "'tab' of fastnet numpy with 1 thread is measured twice"),
    ],
)
def test_files_that_cannot_be_used(runs, message, tmp_path, capsys):
    assert main([*map(str, stored(tmp_path, *runs)), "-o", str(tmp_path / "REPORT.md")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match("error: .*run0.json", line)
    assert message in line
    assert not (tmp_path / "REPORT.md").exists()


def test_the_report_is_written_or_what_is_missing_is_named(tmp_path, capsys):
    (path,) = map(str, stored(tmp_path, changed()))
    missing = str(tmp_path / "none")
    for arguments in ([missing], [path, "-o", f"{missing}/REPORT.md"]):
        assert main(arguments) == 1
        assert missing in capsys.readouterr().err
    assert main([path, "-o", str(tmp_path / "MINE.md")]) == 0
    assert (tmp_path / "MINE.md").read_text("utf-8").startswith("# Benchmarks\n")
    assert {"TABLES.md", "charts"} < {path.name for path in tmp_path.iterdir()}
