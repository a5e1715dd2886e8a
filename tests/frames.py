"""Tables for the tests."""

import numpy as np
import polars as pl

from fastnet import random


def twenty_rows(**changed):
    """Twenty rows that can be learned from; `changed` replaces columns or adds them."""
    rows = np.arange(20)
    columns = {"a": rows * 0.5, "b": rows % 3, "y": [("no", "yes")[r % 2] for r in rows]}
    return pl.DataFrame({**columns, **changed})


def voyage(rows=400, gaps=True):
    """Passengers with names and tickets, ages and ports that are partly missing, and their fate.

    Whether one survived depends on sex, class and age.
    """
    draws = random.normal(11, random.DATA, 0, 5 * rows).reshape(5, rows)
    sex = np.where(draws[0] > 0.4, "female", "male")
    berth = np.searchsorted([-0.6, 0.1], draws[1]) + 1
    age = np.clip(30 + 13 * draws[2], 1, 80).round(1)
    chance = 2.2 * (sex == "female") - 0.9 * (berth - 2) - 0.03 * (age - 30) - 0.8
    port = np.array(["S", "C", "Q"])[np.searchsorted([0.6, 1.3], draws[4])]
    index = np.arange(rows)
    missing = gaps & (index % 5 == 2)
    return pl.DataFrame(
        {
            "id": index + 1,
            "survived": (draws[3] < chance).astype(int),
            "class": berth,
            "name": [f"Passenger, No. {i}" for i in index],
            "sex": sex,
            "age": [None if m else a for m, a in zip(missing, age.tolist(), strict=True)],
            "port": [None if gaps and i % 50 == 7 else p for i, p in enumerate(port.tolist())],
        }
    )
