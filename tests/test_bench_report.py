"""The benchmarks' report: its numbers, its charts, and what it says about files it cannot use."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import child
import pytest

pytest.importorskip("bench.report", reason="the benchmarks are not beside these tests")
pytest.importorskip("matplotlib", reason="charts are drawn by matplotlib")

from bench.records import Record
from bench.report import palette, quantities, reading, scales
from bench.report.__main__ import main
from bench.report.measured import ORDER

FAMILIES = {"numpy": "fastnet", "numba": "fastnet", "cupy": "fastnet", "by hand": "hand"}
CPU = {"brand_raw": "A Processor", "count": 2}


def benchmark(kind, workload, contestant, seconds, *, threads=1, **more):
    """As pytest-benchmark stores it: the quartiles a tenth below and above the median."""
    record = Record(
        kind=kind,
        workload=workload,
        contestant=contestant,
        family=FAMILIES.get(contestant, "peer"),
        what=more.pop("what", "32-64-64-1, relu, batch 256, SGD, float32"),
        unit={"training": "step", "process": "process"}.get(kind, "call"),
        threads=threads,
        versions=more.pop("versions", {"numpy": "2.1.0"}),
        **more,
    )
    spread = {"min": 0.8, "q1": 0.9, "median": 1.0, "q3": 1.1, "max": 1.2}
    stats = {name: factor * seconds for name, factor in spread.items()}
    extra = {"record": record.to_dict()}
    return {"name": f"test[{workload}-{contestant}]", "extra_info": extra, "stats": stats}


def training(workload, seconds, **more):
    """A training of several contestants, by name."""
    return [benchmark("training", workload, who, time, **more) for who, time in seconds.items()]


def ceilings(flops, copied, threads=1):
    return [
        benchmark("ceiling", name, "numpy", 1.0, threads=threads, rate=rate)
        for name, rate in (
            ("matrix product", flops / 2),
            ("matrix product", flops),
            ("copy", copied),
        )
    ]


def whole(benchmarks, command=None, left_out=None, **machine):
    machine = {"cpu": CPU, "python_version": "3.12.1", "system": "Linux", "machine": "x86_64",
               **machine}  # fmt: skip
    told = {"command": command, "left_out": left_out}
    told = {key: value for key, value in told.items() if value is not None}
    return {"machine_info": machine, "fastnet": told, "datetime": "2026-11-25T03:00:00",
            "commit_info": {"id": "0123456789abcdef", "dirty": False},
            "benchmarks": benchmarks}  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """Write JSON files, make their report, return its text."""

    def call(*runs):
        paths = [tmp_path / f"run{i}.json" for i in range(len(runs))]
        for path, run in zip(paths, runs, strict=True):
            path.write_text(json.dumps(run))
        output = tmp_path / "REPORT.md"
        assert main([*map(str, paths), "-o", str(output)]) == 0
        return plain(output.read_text(encoding="utf-8"))

    return call


def plain(text):
    """With an x where it says "times", and a - where there is no number."""
    return text.replace("\N{MULTIPLICATION SIGN}", "x").replace(quantities.NOTHING, "-")


def rows(text, heading):
    """The cells of the first table under a heading, by the plain text of the first one."""
    lines = iter(text.partition(f"{heading}\n")[2].splitlines())
    found = {}
    for line in lines:
        if line.startswith("|"):
            first, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found[re.sub(r"<br>.*|\*", "", first)] = cells
        elif found:
            break
    return found


SMALL = {"numba": 8e-6, "numpy": 100e-6, "jax": 20e-6, "torch": 400e-6}


def test_numbers_are_those_of_the_file(make):
    counted = {"flops": 8e5, "bytes": 8e4, "warm_up": 2.5, "apart": 1.5e-7}
    text = make(whole([*training("tab", SMALL, **counted), *ceilings(2e11, 1.25e10)]))
    times = rows(text, "### Time of a training step")
    assert times["workload"] == ["fastnet numba", "fastnet numpy", "torch", "jax"]
    assert times["tab"] == ["**8.00 µs**", "100 µs", "400 µs", "20.0 µs"]
    assert rows(text, "### fastnet against the others, and against the machine")["tab"] == [
        "numba", "12.5x", "2.50x (jax)", "100 GFLOP/s", "50.0 %", "10.0 GB/s", "80.0 %", "memory",
    ]  # fmt: skip
    assert "200 GFLOP/s in matrix products, 12.5 GB/s in copies" in text
    assert "A step of fastnet numba is 12.5 times as fast as NumPy" in text
    assert "within 1.5e-07 of the largest number" in text
    everything = rows(text, "## Every measurement with 1 thread")
    assert everything["tab"] == [
        "jax", "20.0 µs", "18.0 µs to 22.0 µs", "16.0 µs to 24.0 µs", "1", "40.0", "4.00",
        "2.50 s", "1.5e-07",
    ]  # fmt: skip


def test_each_run_is_held_against_its_own_ceilings(make):
    runs = [
        whole([*training("tab", SMALL, threads=n, flops=8e5), *ceilings(n * 2e11, 1e10, n)])
        for n in (2, 1)
    ]
    text = make(*runs)
    one, two = re.split(r"(?m)^## With 2 threads$", text)
    heading = "### fastnet against the others, and against the machine"
    assert rows(one, heading)["tab"][4:] == ["50.0 %", "-", "-", "arithmetic"]
    assert rows(two, heading)["tab"][4:] == ["25.0 %", "-", "-", "neither"]
    assert "## With 1 thread\n" in one


def test_two_runs_with_as_many_threads_have_their_own_ceilings(make):
    runs = [
        whole([*training(name, SMALL, flops=8e5), *ceilings(flops, 1e10)])
        for name, flops in (("tab", 2e11), ("mnist", 4e11))
    ]
    cells = rows(make(*runs), "### fastnet against the others, and against the machine")
    assert [cells[name][4] for name in ("tab", "mnist")] == ["50.0 %", "25.0 %"]


def test_without_ceilings_there_are_no_shares(make):
    text = make(whole(training("tab", SMALL, flops=8e5)))
    cells = rows(text, "### fastnet against the others, and against the machine")["tab"]
    assert cells[3:] == ["100 GFLOP/s", "-", "-", "-", "-"]


def test_contestants_may_be_absent(make):
    text = make(
        whole(
            [
                *training("alone", {"numpy": 1e-3}),
                *training("without", {"numba": 1e-3, "jax": 5e-4}),
                *training("far", {"numpy": 3.0, "numba": 1e-3, "by hand": 2.0, "mine": 0.5}),
            ]
        )
    )
    times = rows(text, "### Time of a training step")
    assert times["workload"] == ["fastnet numba", "fastnet numpy", "by hand", "jax", "mine"]
    assert times["alone"] == ["-", "**1.00 ms**", "-", "-", "-"]
    against = rows(text, "### fastnet against the others, and against the machine")
    assert against["alone"][:3] == ["numpy", "-", "-"]
    assert against["without"][:3] == ["numba", "-", "0.500x (jax)"]
    assert against["far"][:3] == ["numba", "3,000x", "500x (mine)"]
    assert "because NumPy took no part: without." in text


def test_a_run_of_anything_makes_a_report(make):
    text = make(whole([benchmark("process", "import", "numba", 0.05)]))
    assert "50.0 ms" in text
    assert "Time of a training step" not in text


def test_what_is_lost_is_said(make):
    text = make(
        whole(
            [
                *training("won", {"numba": 1e-3, "numpy": 1e-2, "jax": 2e-3}),
                *training("lost", {"numba": 2e-3, "numpy": 4e-3, "jax": 1e-3}),
                *training("close", {"numba": 1.1e-3, "numpy": 4e-3, "by hand": 1e-3}),
                benchmark("process", "size", "numba", 1.0, amount=3e8),
                benchmark("process", "size", "torch", 1.0, amount=2e8),
            ]
        )
    )
    lost = text.partition("## Where fastnet is not the first")[2].partition("## ")[0]
    assert lost.splitlines()[4:8] == [
        "- **lost**, 1 thread: fastnet numba takes 2.00 ms, jax 1.00 ms (2.00x)",
        "- **close**, 1 thread: fastnet numba takes 1.10 ms, by hand 1.00 ms "
        "(1.10x; their quartiles overlap)",
        "- **size**, 1 thread: fastnet numba needs 300 MB, torch 200 MB (1.50x)",
        "",
    ]


def test_nothing_lost_is_said_too(make):
    text = make(whole(training("tab", SMALL)))
    assert "- nothing that was measured" in text


def test_how_to_repeat_it_and_what_was_not_run(make):
    command = "python -m pytest bench --benchmark-json=run.json"
    run = whole(training("tab", SMALL), command=command, left_out=["there is\nno GPU <here>"])
    text = make(run)
    assert f"```sh\n{command}\npython -m bench.report run0.json\n```" in text
    assert "- there is no GPU &lt;here>" in text.replace("&gt;", ">")
    assert "A Processor, 2 processors; Linux x86_64" in text
    assert "Python 3.12.1, numpy 2.1.0" in text
    assert "2026-11-25, commit 0123456789: [run0.json](run0.json)" in text


def test_warm_up_by_contestant(make):
    runs = [
        *training("a", {"numba": 1e-3, "numpy": 1e-3}, warm_up=0.002),
        *training("b", {"numba": 1e-3}, warm_up=7.25),
    ]
    text = make(whole(runs))
    first = rows(text, "## The first run, with 1 thread")
    assert first["fastnet numba"] == ["2.00 ms (a)", "7.25 s (b)"]
    assert first["fastnet numpy"] == ["2.00 ms (a)", "2.00 ms (a)"]


# --- charts ------------------------------------------------------------------------------------

#: As rich as a run can be: every contestant, and one with a name that needs room and escapes.
LONG = "a <library> | whose & name $is$ long"
FULL = [
    *training("tab", {who: 1e-4 * (i + 1) for i, who in enumerate(ORDER)} | {LONG: 2e-4}),
    *training("far", {"numpy": 3.0, "numba": 1e-3, LONG: 1e-3}),
    *(
        benchmark("training", f"width {n}", who, n * 1e-6, axis="width", value=n, flops=1e4 * n)
        for n in (8, 32, 2048)
        for who in ("numba", "numpy", LONG)
        if (who, n) != ("numba", 2048)
    ),
    benchmark("training", "depth 1", "numpy", 1e-4, axis="depth", value=1),
    *(benchmark("prediction", "predict 1", who, 1e-6, axis="rows", value=1) for who in SMALL),
    benchmark("gradient", "gradient", "numpy", 1e-4),
    *(benchmark("process", "import", who, 0.1 * i + 0.1) for i, who in enumerate(SMALL)),
    *(benchmark("process", "memory", who, 1.0, amount=1e8) for who in SMALL),
    *ceilings(1e11, 1e10),
]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The report of a rich run, made twice."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "run.json").write_text(json.dumps(whole(FULL)))
    for name in ("once", "again"):
        (folder / name).mkdir()
        assert main([str(folder / "run.json"), "-o", str(folder / name / "REPORT.md")]) == 0
    return folder


def charts(folder):
    return sorted((folder / "once" / "charts").iterdir())


def test_every_chart_that_is_shown_is_there_and_no_other(full):
    text = (full / "once" / "REPORT.md").read_text(encoding="utf-8")
    shown = re.findall(r'src(?:set)?="([^"]+)"', text)
    assert sorted(shown) == [f"charts/{path.name}" for path in charts(full)]
    kinds = {name.removeprefix("charts/").partition("-1-thread")[0] for name in shown}
    assert kinds == {"overview", "training", "width", "depth", "prediction", "process"}
    for light, dark in zip(shown[1::2], shown[0::2], strict=True):
        assert dark == light.replace(".svg", "-dark.svg")
    said = re.findall(r'<img alt="([^"]+)"', text)
    assert len(said) == len(kinds) == len(set(said))


def test_the_same_file_gives_the_same_bytes(full):
    once, again = full / "once", full / "again"
    names = [path.relative_to(once) for path in once.rglob("*.*")]
    assert len(names) == 13
    for name in names:
        assert (once / name).read_bytes() == (again / name).read_bytes(), name


def test_charts_are_sound_opaque_and_small(full):
    for path in charts(full):
        root = ET.parse(path).getroot()
        assert root.attrib["width"] == "622.5pt"  # 830 pixels
        fill = next(e.attrib["style"] for e in root.iter() if e.tag.endswith("path"))
        assert ("#0d1117" if "-dark" in path.name else "#ffffff") in fill
        assert path.stat().st_size < 150_000
        assert not re.search(r"\b(nan|inf)\b", path.read_text())


def test_text_is_large_enough_and_within_the_sheet(full):
    for path in charts(full):
        root = ET.parse(path).getroot()
        wide, high = (float(root.attrib[name].removesuffix("pt")) for name in ("width", "height"))
        lines = 0
        for group in root.iter("{http://www.w3.org/2000/svg}g"):
            found = re.match(
                r"translate\(([-\d.]+) ([-\d.]+)\) (rotate\(-90\) )?scale\(([\d.]+) -",
                group.attrib.get("transform", ""),
            )
            if found is None:
                continue
            lines += 1
            x, y, scale = float(found[1]), float(found[2]), float(found[4])
            assert scale * 100 / 0.75 >= 11  # pixels
            length = scale * max(
                float(use.attrib.get("x", 0)) for use in group if use.tag.endswith("use")
            )
            assert x >= 0, path.name
            assert (x if found[3] else x + length) <= wide, path.name
            assert 0 <= (y - length if found[3] else y) <= high, path.name
        assert lines > 5


def test_what_a_file_holds_cannot_become_markup(full):
    text = (full / "once" / "REPORT.md").read_text(encoding="utf-8")
    assert "<library>" not in text
    times = rows(text, "### Time of a training step")
    assert len(times["tab"]) == len(times["workload"]) == len(ORDER) + 1


def test_contestants_can_be_told_apart_from_each_other_and_from_the_paper():
    looks = [palette.look(name) for name in ORDER]
    for seen in ({look.light for look in looks}, {look.dark for look in looks},
                 {look.marker for look in looks}):  # fmt: skip
        assert len(seen) == len(ORDER)
    for theme in palette.THEMES:
        inks = [look.color(theme) for look in looks]
        for ink in inks:
            assert contrast(ink, theme.paper) >= 3  # WCAG 2.1, 1.4.11: graphical objects
        for ink in (theme.ink, theme.quiet):
            assert contrast(ink, theme.paper) >= 4.5  # 1.4.3: text
    assert palette.look("mine") == palette.look("mine")


def contrast(one, other):
    """WCAG's ratio of luminances."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# --- files that cannot be used ------------------------------------------------------------------


def spoilt(**changes):
    run = whole(training("tab", {"numpy": 1e-3}))
    run["benchmarks"][0]["extra_info"]["record"].update(changes)
    return json.dumps(run)


def without_median():
    run = whole(training("tab", {"numpy": 1e-3}))
    run["benchmarks"][0]["stats"]["median"] = 0.0
    return json.dumps(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[]", "was not written by pytest-benchmark"),
        ("{}", "was not written by pytest-benchmark"),
        ('{"results": [], "machine": {}}', "was not written by pytest-benchmark"),
        (json.dumps(whole([])), "no benchmark with a record"),
        (json.dumps(whole([{"extra_info": {"target": 2}}])), "no benchmark with a record"),
        (spoilt(new=1), "did not write: new"),
        (spoilt(kind="lunch"), "kind"),
        (spoilt(flops="many"), "flops"),
        (spoilt(warm_up=-1.0), "warm_up"),
        (spoilt(axis="width", value=None), "value"),
        (spoilt(axis="../width", value=8), "axis"),
        (spoilt(turn=None), "turn"),
        (without_median(), "median"),
    ],
)
def test_a_file_that_is_not_from_the_suite(text, message, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    said = refused([path], tmp_path, capsys)
    assert message in said
    assert reading.COMMAND in said
    assert str(path) in said


def refused(paths, folder, capsys):
    """What is said, in one line, where no report is made."""
    output = folder / "REPORT.md"
    assert main([*map(str, paths), "-o", str(output)]) == 1
    assert not output.exists()
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_file_that_is_missing(tmp_path, capsys):
    assert "cannot read" in refused([tmp_path / "none.json"], tmp_path, capsys)


def two(tmp_path, first, second):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, run in zip(paths, (first, second), strict=True):
        path.write_text(json.dumps(run))
    return paths


@pytest.mark.parametrize("cpu", [{**CPU, "count": 4}, {**CPU, "brand_raw": "Another"}])
def test_files_from_two_machines(cpu, tmp_path, capsys):
    one = whole(training("tab", SMALL))
    other = whole(training("tab", SMALL, threads=2), cpu=cpu)
    said = refused(two(tmp_path, one, other), tmp_path, capsys)
    assert "different machines (A Processor, 2 processors;" in said


def test_files_that_measure_the_same_twice(tmp_path, capsys):
    run = whole(training("tab", SMALL))
    said = refused(two(tmp_path, run, run), tmp_path, capsys)
    assert "'tab' of fastnet numba with 1 thread is measured twice" in said


def test_a_folder_that_is_not_there(tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(whole(training("tab", {"numpy": 1e-3}))))
    assert "cannot write" in refused([path], tmp_path / "none", capsys)


def test_matplotlib_is_imported_when_something_is_drawn():
    root = str(Path(__file__).parent.parent)
    child.run(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import bench.report.__main__\n"
        "assert 'matplotlib' not in sys.modules",
        root,
    )


# --- numbers and scales -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.071234, "0.0712"), (0.9996, "1.00"), (3.666, "3.67"), (99.96, "100"),
     (123.4, "123"), (1234, "1,230"), (99_960, "100,000"), (3.1e-7, "0.000000310")],
)  # fmt: skip
def test_three_digits(number, text):
    assert quantities.digits(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.17e-8, "71.7 ns"), (9.996e-7, "1.00 µs"), (9.994e-7, "999 ns"), (0.183, "183 ms"),
     (0.99951, "1.00 s"), (6.7, "6.70 s"), (3600, "3,600 s"), (4e-13, "0.000400 ns")],
)  # fmt: skip
def test_times_have_a_unit_that_suits(seconds, text):
    assert quantities.time(seconds) == text


@pytest.mark.parametrize(("low", "high"), [(0.5, 2), (0.07, 240), (0.03, 4000), (1e-9, 1e9)])
def test_a_scale_of_speed_marks_one_and_is_not_crowded(low, high):
    scale = scales.speeds([low, high], 170, 4)
    marks = scale.marks(42)
    assert 1.0 in marks
    assert 1 <= len(marks) <= 4
    assert all(scale(b) - scale(a) > 42 / 2 for a, b in pairwise(marks))
    assert scale(low) == pytest.approx(4)
    assert scale(high) == pytest.approx(166)


@pytest.mark.parametrize("high", [0.9, 1.0, 6.8, 350, 0.0123])
def test_an_even_scale_begins_at_zero(high):
    marks = scales.Scale(0, high, 170, log=False).marks(42)
    assert marks[0] == 0
    assert 2 <= len(marks) <= 4
    assert marks[-1] <= high


@pytest.mark.parametrize(
    "places", [[5.0], [0.0, 0.0, 0.0], [3.0, 90.0, 91.0, 92.0, 100.0], [50.0, 49.0, 51.0, 10.0]]
)
def test_labels_do_not_lie_on_each_other(places):
    moved = scales.apart(places, 10, 0, 100)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for a, b in pairwise(moved[i] for i in order):
        assert b - a >= 10 - 1e-9
    assert min(moved) >= 0
    assert max(moved) <= 100
    assert scales.apart([10.0, 50.0], 10, 0, 100) == [10.0, 50.0]
