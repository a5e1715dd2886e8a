"""The backends under test, one line each, and why one of them may have to be left out."""

import importlib.util
import os
from dataclasses import dataclass

from fastnet.contract.choosing import probe


@dataclass(frozen=True)
class Entry:
    """A backend to test.

    Attributes:
        name: what `Model(backend=...)` is given.
        library: the module it stands on; without it there is nothing to test.
        hardware: what it needs besides, in words; None: any machine will do.
        tool: a program that it needs to be tested, in words; None: none.
        fast: whether ten thousand steps are done in a moment.
        only: the tests whose outcome depends on what sets it apart from another entry, by the
            names of modules or functions; empty: all tests.
    """

    name: str
    library: str = "numpy"
    hardware: str | None = None
    tool: str | None = None
    fast: bool = False
    only: tuple[str, ...] = ()

    def has(self, module: str, function: str) -> bool:
        """Whether a test is for this backend."""
        return not self.only or module in self.only or function in self.only


#: Tests of what a kernel computes on its path through a network, and how its steps follow each
#: other. What users hand over, and what they get back, is the same code on all paths.
LAYERED = (
    "test_activations", "test_any_shape", "test_by_step", "test_contract", "test_diverged",
    "test_dropout", "test_fading", "test_gradients", "test_losses", "test_losses_float32",
    "test_sameness", "test_trajectory",
)  # fmt: skip
#: The narrow kernel has losses, activations and updates from the same sources as the layered path,
#: but a way of its own through the layers; each network takes a compilation.
NARROW = (
    "test_any_shape", "test_by_step", "test_dropout", "test_losses",
    "test_architectures_have_the_exact_gradient_with_penalties_weights_and_dropout",
    "test_a_float32_gradient_is_near_the_float64_one", "test_the_same_run_gives_the_same_bits",
    "test_four_epochs_and_four_more_are_eight", "test_a_run_may_be_cut_anywhere",
    "test_results_do_not_depend_on_what_memory_held_before",
    "test_a_row_is_predicted_alike_in_any_company_of_the_same_size",
    "test_training_stops_before_the_update_of_the_first_loss_that_is_not_finite",
)  # fmt: skip


#: To test one more backend, add its line. One that joins through the entry-point group
#: `fastnet.backends` is named like any other.
BACKENDS = [
    Entry("numpy", fast=True),
    Entry("numba", library="numba", fast=True),
    Entry("simulated", library="fastnet_simulated", tool="g++"),
    Entry("simulated_layered", library="fastnet_simulated", tool="g++", only=LAYERED),
    Entry("simulated_narrow", library="fastnet_simulated", tool="g++", only=NARROW),
    Entry("cupy", library="cupy", hardware="a CUDA GPU"),
    Entry("array_api:array_api_strict", library="array_api_strict"),
    Entry("array_api:torch", library="torch"),
    Entry("array_api:jax.numpy", library="jax"),
]


@dataclass(frozen=True)
class Absence:
    """Why a backend is not tested here, and whether that is a failure."""

    reason: str
    fails: bool


def absence(entry: Entry) -> Absence | None:
    """What is missing for `entry`: its library, its hardware or its tool, which are three things.

    With FASTNET_REQUIRE_GPU=1 neither of the first two may be missing for a backend that needs
    hardware. A backend that has all it needs must run.
    """
    required = entry.hardware is not None and os.environ.get("FASTNET_REQUIRE_GPU") == "1"
    if importlib.util.find_spec(entry.library) is None:
        return Absence(f"{entry.name}: library absent: {entry.library}", fails=required)
    if entry.hardware is None and entry.tool is None:
        return None  # not probed, because that may import a large library: its tests fail instead
    found = probe(entry.name)
    if found.usable:
        return None
    if entry.tool is not None:
        return Absence(f"{entry.name}: tool absent: {entry.tool}: {found.reason}", fails=False)
    return Absence(
        f"{entry.name}: hardware absent: {entry.hardware}: {found.reason}", fails=required
    )
