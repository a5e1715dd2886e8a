"""Training and predicting on tables: reading, inspecting, encoding, the recipe, metrics.

    from fastnet import tables

    trained = tables.train("digits.csv", "digit", tables.Recipe(hidden=(128,)))
    tables.predict(trained.model, "new.csv")
    tables.evaluate(trained.model, "known.csv").metrics

May import `many`, the model and what is below it. Needs Polars.
"""

from fastnet.tables.crossing import CrossValidation, cross_validate
from fastnet.tables.evaluating import Evaluation
from fastnet.tables.fitting import TableFit
from fastnet.tables.permutation import importances
from fastnet.tables.predicting import Stream, evaluate, predict, stream
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Table
from fastnet.tables.trained import Trained
from fastnet.tables.training import train

__all__ = [
    "CrossValidation",
    "Evaluation",
    "Recipe",
    "Stream",
    "Table",
    "TableFit",
    "Trained",
    "cross_validate",
    "evaluate",
    "importances",
    "predict",
    "stream",
    "train",
]
