"""An embedding in front of a chain whose columns of numbers only the layer after it tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.embedding import Embed, Inputs
from fastnet.errors import DefinitionError


@dataclass
class Front:
    """Tables of categories, and perhaps numbers beside them.

    Attributes:
        name: where it stands in the source.
        tables: `(codes, units)` each, for the first category and so on.
        parts: the order of its outputs in the source: categories by number, None for the numbers.
        repeats: the one table is that of every column of codes.
        flat: the outputs of its columns stand side by side; else there is one column.
    """

    name: str
    tables: Sequence[Array]
    parts: Sequence[int | None] = (0,)
    repeats: bool = False
    flat: bool = True
    arrays: Mapping[str, Array] = field(init=False, default_factory=dict)

    def settle(self, outputs: int) -> tuple[Inputs, Embed, Array]:
        """What it is in a fastnet whose next layer takes so many columns.

        Returns:
            The network's inputs, the layer, and for each of the source's output columns its place
            among the layer's.

        Raises:
            DefinitionError: if the columns do not fit.
        """
        if self.repeats:
            columns = outputs // self.tables[0].shape[1] if self.flat else 1
            self.tables, self.parts = list(self.tables) * columns, range(columns)
        units = [table.shape[1] for table in self.tables]
        numbers = outputs - sum(units)
        if numbers < 0 or (numbers > 0) != (None in self.parts):
            raise DefinitionError(
                f"{self.name} makes {sum(units)} columns"
                + (" beside the numbers" if None in self.parts else "")
                + f", and the layer after it takes {outputs}."
            )
        self.arrays = {f"embedding_{i}": np.array(table) for i, table in enumerate(self.tables)}
        starts = np.cumsum([numbers, *units])
        places = [
            np.arange(numbers) if part is None else np.arange(starts[part], starts[part + 1])
            for part in self.parts
        ]
        inputs = Inputs(numbers, tuple(len(table) for table in self.tables))
        return inputs, Embed(tuple(units)), np.concatenate(places)
