"""Metrics, held against scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from fastnet import random
from fastnet.tables import metrics

ROWS = 300


def draws(seed, *shape):
    return random.normal(seed, random.DATA, 0, math.prod(shape)).reshape(shape)


def chances(classes, dtype=np.float64, coarse=False):
    """Classes `(rows,)`, and probabilities `(rows, classes)` that know something of them."""
    y = np.arange(ROWS) % classes
    logits = draws(classes, ROWS, classes) + np.eye(classes)[y]
    if coarse:
        logits = np.rint(logits)  # many rows with the same probabilities
    p = np.exp(logits)
    return y, (p / p.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classes(classes, coarse, weighted):
    y, p = chances(classes, coarse=coarse)
    weight = np.arange(ROWS) % 5 / 3 if weighted else None
    found = metrics.classification_metrics(y, p, weight)
    best = p.argmax(axis=1)
    score = p[:, 1] if classes == 2 else p
    area = {"multi_class": "ovr", "average": "macro", "sample_weight": weight}
    if weighted and classes > 2:  # which scikit-learn refuses for several classes
        areas = [
            reference.roc_auc_score(y == i, p[:, i], sample_weight=weight) for i in range(classes)
        ]
    expected = {
        "accuracy": reference.accuracy_score(y, best, sample_weight=weight),
        "log_loss": reference.log_loss(y, p, sample_weight=weight),
        "roc_auc": np.mean(areas)
        if weighted and classes > 2
        else reference.roc_auc_score(y, score, **area),
    }
    assert found == pytest.approx(expected, rel=1e-12)
    for scale in (1e-300, 1e300) if weighted else ():  # only their ratios matter
        found = metrics.classification_metrics(y, p, weight * scale)
        assert found == pytest.approx(expected, rel=1e-12)
    counts = metrics.confusion_matrix(y, best, classes, weight)
    known = reference.confusion_matrix(y, best, sample_weight=weight)
    np.testing.assert_allclose(counts, known, rtol=1e-12)
    scores = metrics.class_scores(y, best, classes, weight)
    known = reference.precision_recall_fscore_support(
        y, best, sample_weight=weight, zero_division=np.nan
    )
    for name, one in zip(("precision", "recall", "f1"), known, strict=False):
        np.testing.assert_allclose(scores[name], one, rtol=1e-12)


def test_a_probability_of_zero_is_clipped_as_in_scikit_learn():
    y = np.array([0, 1, 1])
    for dtype in (np.float32, np.float64):
        p = np.array([[1, 0], [1, 0], [0.25, 0.75]], dtype)
        assert metrics.log_loss(y, p) == pytest.approx(reference.log_loss(y, p), rel=1e-6)


def test_area_where_classes_are_absent():
    p = chances(3)[1]
    y = np.arange(ROWS) % 2  # no row of the third class
    expected = [reference.roc_auc_score(y == index, p[:, index]) for index in (0, 1)]
    assert metrics.roc_auc(y, p) == pytest.approx(np.mean(expected), rel=1e-12)
    assert math.isnan(metrics.roc_auc(np.zeros(ROWS, int), p))
    assert math.isnan(metrics.roc_auc(np.ones(ROWS, int), p[:, :2]))
    assert metrics.confusion_matrix(y, y, 3).tolist() == [[150, 0, 0], [0, 150, 0], [0, 0, 0]]


def test_areas_of_very_many_classes_are_not_taken():
    for classes, known in ((100, True), (101, False)):
        y, p = chances(classes)
        assert math.isnan(metrics.classification_metrics(y, p)["roc_auc"]) != known


def test_areas_that_are_known():
    y = np.array([0, 0, 1, 1])
    for score, area in (([1, 2, 3, 4], 1), ([4, 3, 2, 1], 0), ([5, 5, 5, 5], 0.5)):
        p = np.array(score)[:, None] / 10
        assert metrics.roc_auc(y, np.concatenate([1 - p, p], axis=1)) == area


def test_quantities():
    y = 1000 + 50 * draws(1, ROWS)
    p = (y + 20 * draws(2, ROWS)).astype(np.float32)
    found = metrics.regression_metrics(y, p)
    expected = {
        "r2": reference.r2_score(y, p),
        "rmse": reference.root_mean_squared_error(y, p),
        "mae": reference.mean_absolute_error(y, p),
    }
    assert found == pytest.approx(expected, rel=1e-12)
    constant = metrics.regression_metrics(np.ones(3), np.array([1.0, 1.0, 4.0]))
    assert math.isnan(constant["r2"])
    assert (constant["rmse"], constant["mae"]) == (math.sqrt(3), 1)
