"""Several networks instead of one inside an estimator: `n_members`."""

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from fastnet.contract.choosing import processors


def fit_others(estimator: Any, others: list[Any], X: Any, y: Any, weight: Any, how: str) -> None:
    """Fit the other members of an estimator, each in a thread, as many at once as processors.

    Args:
        estimator: the first member, which is fitted.
        others: changed in place.
        X: as for `fit`.
        y: as for `fit`.
        weight: as for `fit`.
        how: "fit" or "partial_fit".
    """
    options: dict[str, Any] = {"sample_weight": weight}
    if how == "partial_fit" and hasattr(estimator, "classes_"):
        options["classes"] = estimator.classes_
    work = (delayed(getattr(one, how))(X, y, **options) for one in others)
    Parallel(n_jobs=min(processors(), len(others)), require="sharedmem")(work)


def make_others(estimator: Any) -> list[Any]:
    """The other members, not fitted: like the first one, but for their random states.

    Of a number as `random_state` they have the next ones, else numbers that are drawn from it.
    """
    first, count = estimator.random_state, estimator.n_members - 1
    if isinstance(first, int | np.integer):
        states = [(int(first) + place) % 2**32 for place in range(1, count + 1)]
    else:
        states = [int(one) for one in check_random_state(first).randint(2**31 - 1, size=count)]
    return [clone(estimator).set_params(n_members=1, random_state=state) for state in states]
