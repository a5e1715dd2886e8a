"""An error that is both scikit-learn's and fastnet's."""

from fastnet.errors import Diverged


class SolverDiverged(Diverged, ValueError):
    """The loss or a weight stopped being finite; the estimator keeps its last finite weights."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "Solver produced non-finite parameter weights. The input data may contain large"
            " values and need to be preprocessed. "
            f"({where}; a smaller learning_rate_init may help too.)"
        )
