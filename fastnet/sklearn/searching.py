"""Cross-validation of an estimator, and a search over its parameters, with all fits in threads."""

from collections.abc import Callable
from typing import Any, Self

from joblib import parallel_config
from sklearn import model_selection
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.model_selection._search import BaseSearchCV

from fastnet.contract.choosing import processors


def cross_validate(
    estimator: Any, X: Any, y: Any = None, *, n_jobs: int | None = None, **settings: Any
) -> dict[str, Any]:
    """Measure an estimator by cross-validation, many fits at once.

    scikit-learn's `cross_validate` with its results, bit for bit, but for the fits, which run in
    threads of this process, as those of `PopulationSearchCV`.

    Args:
        estimator: such as `fastnet.sklearn.MLPClassifier()`.
        X: as for the estimator.
        y: as for the estimator.
        n_jobs: fits at once; None: as many as processors.
        settings: `cv`, `scoring`, `return_estimator` and the others of scikit-learn's.

    Returns:
        `test_score`, `fit_time` and the others, `(folds,)` each, as in scikit-learn.
    """
    jobs = processors() if n_jobs is None else n_jobs
    with parallel_config(backend="threading", n_jobs=jobs):
        found: dict[str, Any] = model_selection.cross_validate(
            estimator, X, y, n_jobs=jobs, **settings
        )
    return found


class PopulationSearchCV(BaseSearchCV):
    """Search the parameters of an estimator by cross-validation, many fits at once.

    Attributes and arguments are those of `sklearn.model_selection.GridSearchCV` and
    `RandomizedSearchCV`, and so are the results, bit for bit. But fits run in threads of this
    process: nothing is copied or pickled, and since fastnet's compiled kernels leave Python's lock,
    every processor is busy. Any estimator goes, a pipeline too; those that hold Python's lock take
    turns.

    Args:
        estimator: such as `fastnet.sklearn.MLPClassifier()`.
        param_distributions: for each parameter a list of values, or a distribution with `rvs`; or a
            list of such dictionaries.
        n_iter: how many candidates are drawn; None: the whole grid, of lists.
        scoring: as in scikit-learn.
        n_jobs: fits at once; None: as many as processors.
        refit: as in scikit-learn.
        cv: as in scikit-learn.
        verbose: as in scikit-learn.
        random_state: of the candidates.
        error_score: as in scikit-learn.
        return_train_score: as in scikit-learn.

    Attributes:
        cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_,
            refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_: as in
            scikit-learn.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = float("nan"),
        return_train_score: bool = False,
    ) -> None:
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.random_state = random_state
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit every candidate on every fold, and the best on all rows.

        Args:
            X: as for the estimator.
            y: as for the estimator.
            params: passed on to the estimator's `fit`, to the splitter and to the scorer.
        """
        jobs = processors() if self.n_jobs is None else self.n_jobs
        with parallel_config(backend="threading", n_jobs=jobs):
            found: Self = super().fit(X, y, **params)
        return found

    def _run_search(self, evaluate_candidates: Callable[[Any], Any]) -> None:
        if self.n_iter is None:
            evaluate_candidates(ParameterGrid(self.param_distributions))
        else:
            evaluate_candidates(
                ParameterSampler(
                    self.param_distributions, self.n_iter, random_state=self.random_state
                )
            )
