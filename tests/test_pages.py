"""README and the pages of docs/: their examples run, and their links lead somewhere."""

import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import commands
import polars as pl
import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]

#: What makes examples short enough for a test.
SHORTER = {
    "epochs=10_000": "epochs=100",
    "epochs=100,": "epochs=2,",
    "epochs=50)": "epochs=2)",
    "epochs=30,": "epochs=2,",
    "Recipe(hidden": "Recipe(epochs=2, hidden",
    "Recipe(epochs=20), folds=5": "Recipe(epochs=1), folds=2",
    "load_digits(return": "load_digits(n_class=2, return",
    "TableClassifier(random": "TableClassifier(epochs=2, random",
    "fastnet train": "fastnet train --epochs 2",
}


def read(page):
    return (ROOT / page).read_text()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """The folder that `python examples/write_datasets.py data` fills."""
    folder = tmp_path_factory.mktemp("pages") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["write_datasets.py", str(folder)])
        runpy.run_path(str(ROOT / "examples" / "write_datasets.py"), run_name="__main__")
    return folder


@pytest.mark.filterwarnings("ignore")  # that so few epochs are too few
@pytest.mark.usefixtures("on_numpy")
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_one_after_the_other(
    page, datasets, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(datasets)
    numbers = {name: [float(n % 7) for n in range(60)] for name in ("a", "price")}
    pl.DataFrame(numbers).write_parquet("huge.parquet")
    names = {}
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", read(page), re.M | re.S):
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        if language == "sh":
            for line in code.splitlines():
                program, *words = shlex.split(line, comments=True)
                if program == "fastnet" and words[0] != "bench":
                    status, _, errors = commands.run(*words)
                    assert status == 0, errors
        elif 'backend="cupy"' not in code:  # which needs a GPU
            if importlib.util.find_spec("torch") is None:
                code = re.sub(r"^(.*to_torch|.*from_torch).*\n", "", code, flags=re.M)
            exec(compile(code, page, "exec"), names)
    if page == "docs/other-libraries.md":  # it prints how far onnxruntime's predictions are off
        assert float(capsys.readouterr().out.splitlines()[-1]) < 1e-5


def test_what_makes_examples_shorter_stands_in_them():
    whole = "".join(map(read, PAGES))
    assert [long for long in SHORTER if long not in whole] == []


def anchors(page):
    """What links to the headings of a page end with."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r'\]\(([^)\s]+)\)|src(?:set)?="([^"]+)"', read(page))
    ]
    lost = []
    for page, found in links:
        path, _, anchor = "".join(found).partition("#")
        if path.startswith("https:"):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            lost.append((page, *found))
    assert lost == []
    assert len(links) > len(PAGES)
