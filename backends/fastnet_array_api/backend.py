"""A backend in the functions of the array-API standard alone (data-apis.org/array-api).

`backend="array_api:torch"` runs on PyTorch, on the device that `FASTNET_DEVICE` names ("cpu",
"cuda", "mps", "xpu"); `array_api:cupy` and `array_api:jax.numpy` on these libraries; `array_api`
alone on NumPy.
"""

import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnet.contract.plan import Plan
from fastnet.contract.program import Backend, Probe
from fastnet.errors import BackendUnavailable
from fastnet.extras import REQUIREMENTS, pip_install
from fastnet_array_api.functions import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastnet_array_api.program import OPERATIONS, ArrayProgram

#: Libraries that have been tried.
LIBRARIES = ("numpy", "torch", "cupy", "jax.numpy", "array_api_strict")


class ArrayBackend(Backend):
    """Runs on one library of the standard."""

    contract = 3

    def __init__(self, library: str | None = None) -> None:
        self.library = library or "numpy"
        self.name = "array_api" if library is None else f"array_api:{library}"

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The operations of `program.py`, and what the tables of `functions.py` have."""
        return {
            "operation": OPERATIONS,
            "activation": list(ACTIVATIONS),
            "loss": list(LOSSES),
            "optimizer": list(OPTIMIZERS),
            "factor": ["rate", "decay"],
        }

    def variant(self, name: str) -> "ArrayBackend":
        """The backend on another library: `array_api:torch`."""
        return ArrayBackend(name)

    def namespace(self) -> Any:
        """The library's functions, as the standard has them.

        Raises:
            BackendUnavailable: if the library, or what adapts it to the standard, is not there.
        """
        try:
            library = importlib.import_module(self.library)
        except Exception as error:  # a library may raise anything, a name may be no name
            others = ", ".join(name for name in LIBRARIES if name != self.library)
            raise BackendUnavailable(
                f"backend {self.name!r} cannot import {self.library!r} ({error}); install it, or "
                f"use another: {others}."
            ) from error
        if not hasattr(library, "__array_api_version__") or self.library == "numpy":
            try:
                library = importlib.import_module(f"array_api_compat.{self.library}")
            except ImportError as error:
                if importlib.util.find_spec("array_api_compat") is None:
                    missing = "array-api-compat, which is not installed"
                    remedy = f"install it: {pip_install(*REQUIREMENTS['array-api'])}"
                else:
                    missing = f"a library of the array-API standard, which {self.library!r} is not"
                    remedy = f"use one of {', '.join(LIBRARIES)}."
                raise BackendUnavailable(
                    f"backend {self.name!r} needs {missing}; {remedy}"
                ) from error
        if not all(hasattr(library, name) for name in ("asarray", "matmul", "float64")):
            raise BackendUnavailable(
                f"backend {self.name!r} needs a library of the array-API standard, which "
                f"{self.library!r} is not; use one of {', '.join(LIBRARIES)}."
            )
        return library

    def probe(self) -> Probe:
        """Whether the library is here, and the device that `FASTNET_DEVICE` names."""
        try:
            self._device(self.namespace())
        except BackendUnavailable as error:
            reason, _, remedy = str(error).removeprefix(f"backend {self.name!r}").partition("; ")
            reason = reason.strip(": ")
            return Probe(False, f"it {reason}", remedy[:1].upper() + remedy[1:])
        return Probe(usable=True)

    def describe(self) -> Mapping[str, str]:
        """The library's version and the device asked for."""
        package = importlib.import_module(self.library.partition(".")[0])
        version = getattr(package, "__version__", "")
        device = os.environ.get("FASTNET_DEVICE") or "the library's default"
        return {
            "versions": f"{self.library} {version}".strip(),
            "device": device,
            "threads": "the library's own",
        }

    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> ArrayProgram:
        """Nothing is compiled: the plan is followed step by step."""
        xp = self.namespace()
        program = ArrayProgram(self.name, xp, self._device(xp), plan, dtype)
        program.to_device(np.zeros(1, dtype))  # here, not in the first step, it may be refused
        return program

    def _device(self, xp: Any) -> Any:
        """What `FASTNET_DEVICE` names, as the library takes it; None: its own choice."""
        device: Any = os.environ.get("FASTNET_DEVICE", "").strip() or None
        try:
            if device is not None and self.library == "jax.numpy":
                device = importlib.import_module("jax").devices(device)[0]
            float(xp.sum(xp.asarray([0.0], dtype=xp.float32, device=device)))
        except Exception as error:  # each library has errors of its own
            if device is None:
                raise BackendUnavailable(
                    f"backend {self.name!r} cannot compute on {self.library}'s default device "
                    f"({error}); set FASTNET_DEVICE to another."
                ) from error
            raise BackendUnavailable(
                f"backend {self.name!r} cannot compute on FASTNET_DEVICE={str(device)!r} "
                f"({error}); set it to another device, or unset it."
            ) from error
        return device


BACKEND = ArrayBackend()
