"""What is compared: each is made for a table, trained on a pandas frame, and predicts one.

Everything has its default parameters. Where a library needs the table prepared, it is prepared as
its own documentation does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.real_tables.data import RealTable


def _kinds(x: Any) -> tuple[list[str], list[str]]:
    """The columns of numbers and those of text."""
    from pandas.api.types import is_numeric_dtype

    numbers = [name for name in x.columns if is_numeric_dtype(x[name])]
    return numbers, [name for name in x.columns if name not in numbers]


def _as_categories(x: Any) -> Any:
    return x.astype(dict.fromkeys(_kinds(x)[1], "category"))


class _Prepared:
    """An estimator whose text columns are made into what it takes, alike for all rows."""

    def __init__(self, estimator: Any, prepare: Callable[[Any], Any], **fit: Any) -> None:
        self.estimator, self.prepare, self.options = estimator, prepare, fit
        self.levels: dict[str, Any] = {}

    def fit(self, x: Any, y: Any) -> "_Prepared":
        x = self.prepare(x)
        self.levels = {n: x[n].dtype for n in x.columns if str(x[n].dtype) == "category"}
        self.estimator.fit(x, y, **self.options)
        return self

    def predict(self, x: Any) -> Any:
        return self.estimator.predict(self.prepare(x).astype(self.levels))


def scikit_learn_trees(table: RealTable, x: Any, seed: int) -> Any:
    """scikit-learn's histogram gradient boosting, text as categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier
    if table.task == "regression":
        kind = HistGradientBoostingRegressor
    estimator = kind(categorical_features="from_dtype", random_state=seed)
    return _Prepared(estimator, _as_categories)


def lightgbm(table: RealTable, x: Any, seed: int) -> Any:
    """LightGBM, text as categories."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMClassifier if table.task == "classification" else LGBMRegressor
    return _Prepared(kind(random_state=seed, verbose=-1, n_jobs=1), _as_categories)


def catboost(table: RealTable, x: Any, seed: int) -> Any:
    """CatBoost, text as categories; a missing text is a category of its own."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    text = _kinds(x)[1]
    kind = CatBoostClassifier if table.task == "classification" else CatBoostRegressor
    estimator = kind(random_seed=seed, verbose=False, allow_writing_files=False, thread_count=1)
    return _Prepared(
        estimator,
        lambda x: x.assign(**{name: x[name].fillna("missing").astype(str) for name in text}),
        cat_features=text,
    )


def scikit_learn_mlp(table: RealTable, x: Any, seed: int) -> Any:
    """scikit-learn's MLP on standardized numbers and one-hot text; its target is standardized."""
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, text = _kinds(x)
    columns = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", add_indicator=True),
                              StandardScaler()),
                numbers,
            ),
            (
                "text",
                OneHotEncoder(handle_unknown="ignore", max_categories=20, sparse_output=False),
                text,
            ),
        ]
    )  # fmt: skip
    if table.task == "classification":
        return make_pipeline(columns, MLPClassifier(random_state=seed))
    network = MLPRegressor(random_state=seed)
    return make_pipeline(columns, TransformedTargetRegressor(network, transformer=StandardScaler()))


def fastnet(table: RealTable, x: Any, seed: int, members: int = 1) -> Any:
    """fastnet's estimators on tables."""
    from fastnet.sklearn import TableClassifier, TableRegressor

    kind = TableClassifier if table.task == "classification" else TableRegressor
    return kind(random_state=seed, categorical=table.codes, n_members=members)


#: By the name in reports, with the package that each needs.
CONTESTANTS: dict[str, tuple[str, Callable[[RealTable, Any, int], Any]]] = {
    "fastnet": ("fastnet", fastnet),
    "fastnet, 8 members": ("fastnet", partial(fastnet, members=8)),
    "HistGradientBoosting": ("sklearn", scikit_learn_trees),
    "LightGBM": ("lightgbm", lightgbm),
    "CatBoost": ("catboost", catboost),
    "scikit-learn's MLP": ("sklearn", scikit_learn_mlp),
}
