"""Errors for arguments that a function does not have: the name that was meant, or what to do."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from fastnet.errors import ArgumentError

#: What other libraries, and earlier versions of this one, call an argument: the first of the names
#: that a function has is meant.
_MEANT: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "learning_rate_init": ("learning_rate",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "betas": ("beta1",),
    "eps": ("epsilon",),
    "rho": ("alpha",),
    "decay": ("alpha", "weight_decay"),
    "etaminus": ("etas",),
    "etaplus": ("etas",),
    "shrink": ("etas",),
    "grow": ("etas",),
    "smallest": ("step_sizes",),
    "largest": ("step_sizes",),
    "every": ("step_size",),
    "factor": ("gamma",),
    "decay_rate": ("gamma",),
    "power": ("power_t",),
    "end": ("eta_min",),
    "T_max": ("epochs",),
    "decay_steps": ("epochs",),
    "warmup_epochs": ("epochs",),
    "start": ("start_factor",),
    "up": ("pct_start",),
    "divide": ("div_factor",),
    "final": ("final_div_factor",),
    "max_lr": ("rate",),
    "initial_learning_rate": ("rate",),
    "learning_rate": ("rate",),
    "least": ("min_lr",),
    "negative_slope": ("slope",),
    "p": ("rate",),
    "quantile": ("q",),
    "tau": ("q",),
    "out_features": ("units",),
    "size": ("units",),
    "act": ("activation",),
    "use_bias": ("bias",),
    "kernel_initializer": ("init",),
    "weights": ("init", "sample_weight"),
    "weight": ("sample_weight",),
    "input_dim": ("inputs",),
    "input_shape": ("inputs",),
    "in_features": ("inputs",),
    "hidden_layer_sizes": ("hidden", "layers"),
    "random_state": ("seed",),
    "device": ("backend",),
    "n_epochs": ("epochs",),
    "nb_epoch": ("epochs",),
    "num_epochs": ("epochs",),
    "max_iter": ("epochs",),
    "validation_data": ("validation",),
    "validation_split": ("validation",),
    "validation_fraction": ("validation",),
    "eval_set": ("validation",),
    "patience": ("early_stopping",),
    "n_iter_no_change": ("early_stopping",),
    "max_norm": ("clip_norm",),
    "clipnorm": ("clip_norm",),
    "clipvalue": ("clip_value",),
    "verbose": ("progress",),
    "penalty": ("l2",),
}

#: What to do about arguments without a counterpart.
_ADVICE = {
    "lr": "it belongs to an optimizer that has one, as in optimizer=fn.Adam(0.01)",
    "learning_rate": "it belongs to an optimizer that has one, as in optimizer=fn.Adam(0.01)",
    "momentum": "it belongs to an optimizer that has one: optimizer=fn.SGD(0.1, momentum=0.9)",
    "weight_decay": "use optimizer=fn.AdamW(weight_decay=0.01)",
    "label_smoothing": "it belongs to the loss: loss=fn.Crossentropy(label_smoothing=0.1)",
    "loss": "it belongs to the network: fn.Network(inputs, layers, loss='mse')",
    "from_logits": "losses are computed from logits already",
    "reduction": "a loss is the mean over rows and outputs",
    "input_dim": "the network has it: fn.Network(inputs, layers)",
    "input_shape": "the network has it: fn.Network(inputs, layers)",
    "in_features": "the network has it: fn.Network(inputs, layers)",
    "kernel_regularizer": "give l1 and l2 to fit",
    "dropout": "it is a layer: fn.Dropout(0.1)",
}

F = TypeVar("F", bound=Callable[..., Any])


def remedy(name: str, known: Iterable[str]) -> str:
    """What to do about an argument or constant that is not `known`; "" if there is no advice."""
    import difflib  # slow to import, and needed for errors only

    known = list(known)
    meant = [one for one in _MEANT.get(name, ()) if one in known]
    if not meant and name not in _ADVICE:
        meant = difflib.get_close_matches(name.lower(), known, n=1)
    if meant:
        return f"did you mean {meant[0]!r}?"
    return f"{_ADVICE[name]}." if name in _ADVICE else ""


def explained(
    what: str, missing: str = "", elsewhere: tuple[str, Iterable[str]] = ("", ())
) -> Callable[[F], F]:
    """Turn Python's error for arguments that do not fit into ours; for functions and classes.

    Args:
        what: the function, as users call it.
        missing: what to do where an argument is missing.
        elsewhere: another function, as users call it, and those of its arguments that users may
            give to this one by mistake.
    """

    def decorate(target: F) -> F:
        cls = target if isinstance(target, type) else None
        # Records share one `__init__`, which another's explanation may already be around.
        called: Any = target if cls is None else inspect.unwrap(cls.__init__)  # type: ignore[misc]

        @functools.wraps(called)
        def call(*given: Any, **named: Any) -> Any:
            try:
                return called(*given, **named)
            except TypeError:
                # Only where the call itself does not fit: not for errors inside of it.
                whose: Any = target
                if cls is not None:
                    made: Any = type(given[0])
                    given = given[1:]
                    if made.__init__ is call:  # which a user's class may inherit
                        whose = made
                signature = inspect.signature(whose)
                try:
                    signature.bind(*given, **named)
                except TypeError as error:
                    asked = what if whose is target else whose.__name__
                    known = [name for name in signature.parameters if name != "self"]
                    raise _unfit(asked, named, known, missing, elsewhere, error) from None
                raise

        if cls is None:
            return cast(F, call)
        cls.__init__ = call  # type: ignore[misc]
        return target

    return decorate


def _unfit(
    what: str,
    named: dict[str, Any],
    known: list[str],
    missing: str,
    elsewhere: tuple[str, Iterable[str]],
    error: TypeError,
) -> ArgumentError:
    wrong = [name for name in named if name not in known]
    if not wrong:
        return ArgumentError(f"{what}: {error}{f'; {missing}' if missing else ''}.")
    other, taken = elsewhere
    if wrong[0] in taken:
        return ArgumentError(f"{what} has no argument {wrong[0]!r}; give {other}({wrong[0]}=...).")
    takes = f"it takes {', '.join(known)}." if known else "it takes none."
    parts = [f"{what} has no argument {wrong[0]!r}", remedy(wrong[0], known) or takes]
    return ArgumentError("; ".join(parts))
