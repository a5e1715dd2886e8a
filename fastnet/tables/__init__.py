"""Training and predicting on tables: reading, inspecting, encoding, the recipe, metrics.

    from fastnet import tables

    trained = tables.train("digits.csv", "digit", tables.Recipe(hidden=(128,)))
    tables.predict(trained.model, "new.csv")

May import the model and what is below it. Needs Polars.
"""

from fastnet.tables.evaluating import Evaluation
from fastnet.tables.fitting import TableFit, Trained, train
from fastnet.tables.predicting import Stream, predict, stream
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Table

__all__ = [
    "Evaluation",
    "Recipe",
    "Stream",
    "Table",
    "TableFit",
    "Trained",
    "predict",
    "stream",
    "train",
]
