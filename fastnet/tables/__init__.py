"""Tables: columns, encoding, reading, inspecting, the recipe, predictions and metrics.

May import the model and what is below it.
"""

from fastnet.tables.predicting import Stream, predict, stream
from fastnet.tables.recipe import Recipe, Trained, train
from fastnet.tables.schema import Table

__all__ = ["Recipe", "Stream", "Table", "Trained", "predict", "stream", "train"]
