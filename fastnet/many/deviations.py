"""Means and variances of quantities that the members of an ensemble predict."""

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.losses import GaussianNLL
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError
from fastnet.many.measuring import kind_of


def has_deviations(network: Network, weights: Array) -> bool:
    """Whether there are standard deviations: of quantities, by variances or several members.

    Args:
        network: that of the members.
        weights: `(members,)`.
    """
    kind = kind_of(network)
    return kind == "normal" or (kind == "values" and int(np.count_nonzero(weights)) > 1)


def check_deviations(network: Network, weights: Array) -> None:
    """Make sure that there are; the arguments are those of `has_deviations`.

    Raises:
        DefinitionError: if there are none; it says why.
    """
    kind = kind_of(network)
    if kind == "classes":
        raise DefinitionError(
            "standard deviations and intervals are of quantities; these members predict "
            "probabilities, which say by themselves how sure they are."
        )
    if kind == "quantiles":
        raise DefinitionError(
            "these members predict quantiles, whose deviations say nothing of the target's; "
            "use loss='gaussian_nll' or loss='mse'."
        )
    if not has_deviations(network, weights):
        raise DefinitionError("one member has no spread; use more members, or loss='gaussian_nll'.")


def least_variance(network: Network) -> float:
    """What a predicted variance is at least; 0 where none is predicted."""
    return network.loss.epsilon if isinstance(network.loss, GaussianNLL) else 0.0


def moments(network: Network, predicted: Array, weights: Array) -> tuple[Array, Array]:
    """The mean and the variance of the members together.

    With `loss="gaussian_nll"` of the mixture of their normal distributions (Lakshminarayanan,
    Pritzel and Blundell 2017, section 2.4), else between their predictions.

    Args:
        network: that of the members.
        predicted: `(members, rows, outputs)`.
        weights: `(members, rows)` or `(members, 1)`, 0 where a member does not count for a row.

    Returns:
        `(rows, targets)` float64 each; NaN for rows that no member counts for.
    """
    targets = network.targets
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (weights / weights.sum(axis=0))[:, :, None]
        predicted = predicted.astype(np.float64)
        points = predicted[..., :targets]
        mean = np.sum(share * points, axis=0)
        between = np.sum(share * (points - mean) ** 2, axis=0)
        if kind_of(network) == "normal":
            own = np.maximum(np.exp(predicted[..., targets:]), least_variance(network))
            return mean, np.sum(share * own, axis=0) + between
        # Unbiased for equal weights, where it divides by members - 1.
        return mean, between / (1 - np.sum(share**2, axis=0))
