"""scikit-learn's fitted networks: fastnet predicts what they compute."""

import numpy as np
import pytest
from foreign import NEAR, ROWS, agree
from sklearn import neural_network
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

import fastnet as fn
import fastnet.sklearn as ours

#: Few steps are enough here; scikit-learn warns about that.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def estimators():
    """Fitted estimators by name, with the predictions that are expected for ROWS."""

    x, generator = ROWS.astype(np.float64), np.random.default_rng(0)
    labels = (x[:, :2] > 0).astype(int)

    def classifier(activation="relu"):
        return MLPClassifier(
            hidden_layer_sizes=(5, 4), activation=activation, max_iter=5, random_state=0
        )

    def regressor(**options):
        return MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0, **options)

    made = {
        "two classes": (classifier(), labels[:, 0]),
        "named classes": (classifier("logistic"), np.where(labels[:, 0] > 0, "yes", "no")),
        "three classes": (classifier("tanh"), generator.integers(3, size=40)),
        "labels": (classifier("identity"), labels),
        "a quantity": (regressor(), x[:, 0]),
        "two quantities": (regressor(activation="tanh"), x[:, :2]),
        "in float32": (regressor(), x[:, 0]),
        "scaled": (make_pipeline(StandardScaler(), classifier()), labels[:, 0]),
        "scaled twice": (
            make_pipeline(StandardScaler(with_mean=False),
                          StandardScaler(with_std=False), regressor()),
            x[:, 0],
        ),
        "passed through": (make_pipeline("passthrough", regressor()), x[:, 0]),
    }  # fmt: skip
    if "loss" in MLPRegressor().get_params():  # since scikit-learn 1.7
        made["counts"] = regressor(loss="poisson"), np.exp(x[:, 0] / 5)
    found = {}
    for name, (estimator, y) in made.items():
        given = ROWS if name == "in float32" else x
        estimator.fit(given, y)
        wanted = getattr(estimator, "predict_proba", estimator.predict)(given)
        if name in ("two classes", "named classes", "scaled"):
            wanted = wanted[:, 1:]
        found[name] = estimator, np.log(wanted) if name == "counts" else wanted
    return found


def test_estimators_of_scikit_learn(estimators):
    losses = {"labels": "binary_crossentropy", "three classes": "crossentropy", "counts": "poisson",
              "two classes": "binary_crossentropy", "two quantities": "mse"}  # fmt: skip
    for name, (estimator, wanted) in estimators.items():
        model = fn.from_sklearn(estimator, backend="numpy")
        assert model.dtype == ("float32" if name == "in float32" else "float64")
        given = ROWS if name == "in float32" else ROWS.astype(np.float64)
        tolerance = NEAR if name == "in float32" else 1e-12
        agree(model.predict(given), wanted.reshape(len(ROWS), -1), tolerance)
        assert model.network.loss.name == losses.get(name, model.network.loss.name)


def test_graphs_of_scikit_learns_converter(estimators, tmp_path):
    converter = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    path = tmp_path / "model.onnx"
    for name, (estimator, wanted) in estimators.items():
        if name in ("counts", "passed through"):  # which the converter does not support
            continue
        if name == "two quantities":  # its graphs put them into one column, row after row
            path.write_bytes(converter.to_onnx(estimator, ROWS[:1]).SerializeToString())
            with pytest.raises(
                fn.ModelFileError, match=r"'Reshape' \(Reshape\): from 2 units to 1"
            ):
                fn.from_onnx(path, backend="numpy")
            continue
        for zipmap in (True, False):
            options = (
                {id(estimator): {"zipmap": zipmap}} if "predict_proba" in dir(estimator) else {}
            )
            proto = converter.to_onnx(estimator, ROWS[:1].astype(np.float64), options=options)
            path.write_bytes(proto.SerializeToString())
            found = fn.from_onnx(path, backend="numpy").predict(ROWS)
            agree(found, wanted.reshape(len(ROWS), -1))


@pytest.mark.parametrize(
    "scaler",
    [MinMaxScaler((-1, 2)), MaxAbsScaler(), RobustScaler(), RobustScaler(with_centering=False),
     RobustScaler(with_scaling=False)],
)  # fmt: skip
@pytest.mark.parametrize("library", [neural_network, ours])
def test_scalers_are_folded_into_the_weights(scaler, library):
    x = ROWS.astype(np.float64)
    net = library.MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0)
    scaled = make_pipeline(scaler, net).fit(x, x[:, 0])
    model = fn.from_sklearn(scaled, backend="numpy")
    agree(model.predict(x), scaled.predict(x)[:, None], 1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber"])
def test_our_own_estimators(loss):
    x = ROWS.astype(np.float64)
    net = ours.MLPRegressor(loss, (5, 4), "elu", max_iter=5, dropout=0.1, random_state=0).fit(
        x, np.abs(x[:, 0])
    )
    model = fn.from_sklearn(net, backend="numpy")
    assert model.network == net.model_.network
    agree(model.predict(x), net.model_.predict(x), 1e-12)
    model.parameters.flat[...] = 0  # a copy
    assert net.coefs_[0].any()


def test_unsupported_estimators_are_refused_by_name(estimators):

    fitted = estimators["a quantity"][0]
    for estimator, message in (
        (MLPRegressor(), "is not fitted"),
        (LinearRegression(), r"estimator is LinearRegression\(\)"),
        (make_pipeline(StandardScaler(), fitted), "'standardscaler' is not fitted"),
        (make_pipeline(MinMaxScaler(), fitted), "'minmaxscaler' is not fitted"),
        (make_pipeline(MinMaxScaler(clip=True), fitted), "'minmaxscaler' clips"),
        (make_pipeline(Normalizer(), fitted), r"'normalizer' is Normalizer\(\); .* MaxAbsScaler"),
        (ours.MLPRegressor(), "is not fitted"),
        (make_pipeline(fitted, StandardScaler()), "ends in one"),
        ("mlp", "estimator is 'mlp'"),
    ):
        with pytest.raises(fn.DefinitionError, match=message):
            fn.from_sklearn(estimator, backend="numpy")
