"""Write small tables to try `fastnet train` on, from scikit-learn's datasets.

    python examples/write_datasets.py data
    fastnet train data/digits.csv --target digit -o digits.safetensors
    fastnet predict digits.safetensors data/new.csv

`digits.csv`: 1,787 images of 8 by 8 pixels; the target `digit` is an integer.
`breast_cancer.csv`: 569 rows of 30 measurements; the target `diagnosis` is text.
`new.csv`: ten more images without the target: the digits 5, 4, 8, 8, 4, 9, 0, 8, 9, 8.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from fastnet.errors import MissingExtra
from fastnet.extras import need

#: Rows of the digits that are held back, to predict.
NEW = 10


def write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """Write one table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    print(f"{path}: {len(rows):,} rows, {len(header)} columns")


def main() -> None:
    """Write the three files to the given folder."""
    parser = argparse.ArgumentParser(description="Write tables to try `fastnet train` on.")
    parser.add_argument("folder", type=Path, help="where to write; created if it does not exist")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    try:
        datasets = need("sklearn.datasets", "test", "writing these tables")
    except MissingExtra as error:
        raise SystemExit(f"error: {error}") from None
    digits = datasets.load_digits()
    pixels = list(digits.feature_names)
    images = [[int(value) for value in row] for row in digits.data]
    labeled = [[*row, int(digit)] for row, digit in zip(images, digits.target, strict=True)]
    write(folder / "digits.csv", [*pixels, "digit"], labeled[:-NEW])
    write(folder / "new.csv", pixels, images[-NEW:])

    cancer = datasets.load_breast_cancer()
    measures = [name.replace(" ", "_") for name in cancer.feature_names]
    diagnosed = [
        [*row, str(cancer.target_names[kind])]
        for row, kind in zip(cancer.data.tolist(), cancer.target, strict=True)
    ]
    write(folder / "breast_cancer.csv", [*measures, "diagnosis"], diagnosed)


if __name__ == "__main__":
    main()
