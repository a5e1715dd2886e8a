"""How near is near enough: every tolerance of the suite, with its reason.

All are relative to the Euclidean norm of what is expected, unless said otherwise.
"""

import numpy as np

#: One forward pass or loss against a formula in float64: some roundings per layer.
FORWARD = {"float64": 1e-13, "float32": 2e-6}

#: One float32 gradient against the float64 one: what every backend owes.
GRADIENT_FLOAT32 = 1e-5

#: A gradient against finite differences in float64, relative to the directional derivative.
DIFFERENCES = 1e-7

#: The tutorial's figures, each relative. Extended precision gives them to 3e-14.
TUTORIAL = 1e-11

#: Parameters after 1,000 steps in float64 against the naive loop: what every backend owes.
TRAJECTORY = 1e-12

#: Parameters after some fifty steps of any optimizer in float64 against the naive one.
OPTIMIZER = 1e-12

#: Parameters and memory after three updates of any optimizer against NumPy's.
FADING = {"float64": 1e-14, "float32": 1e-6}

#: Weighted rows against repeated rows: the same sum in another order.
REORDERED = {"float64": 1e-13, "float32": 1e-5}

#: L-BFGS's loss against the optimum that SciPy finds by another road, relative.
OPTIMUM = 1e-8

#: Elementwise functions, in units of the dtype's epsilon: libraries differ in the last bits.
ELEMENTWISE_EPSILONS = 8


#: The normal distribution function, relative, in the far lower tail.
NORMAL_TAIL = 4e-13


def elementwise(dtype) -> float:
    """The relative error that an elementwise function may have in `dtype`."""
    return ELEMENTWISE_EPSILONS * float(np.finfo(dtype).eps)
