"""The settings for training on a table."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, Literal

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS, Adam, Optimizer
from fastnet.definition.schedules import Cosine
from fastnet.errors import DefinitionError, unknown
from fastnet.records import Record, names_of
from fastnet.tables.csv_blocks import check_separator
from fastnet.tables.notation import Notation
from fastnet.tables.schema import TASKS
from fastnet.training.class_weights import BALANCED
from fastnet.training.members import seeds_of_members

LEARNING_RATE = 0.002

#: Units of the hidden layers of a recipe that does not give them.
UNITS = (64, 64)

#: The largest penalty of the default; on few rows it would be larger.
MOST_L2 = 0.03


class _Defaults(Record):
    """What a setting that is None becomes, by task.

    Attributes:
        steps: of a training.
        epochs: the fewest and the most that these steps may be.
        penalty: l2 times the number of training rows.
    """

    steps: int
    epochs: tuple[int, int]
    penalty: float


#: Chosen on other tables and splits than those that `bench/real_tables` measures. Classes are
#: learned sooner, and need more of a penalty.
_DEFAULTS = {
    "classification": _Defaults(steps=10_000, epochs=(30, 200), penalty=10.0),
    "regression": _Defaults(steps=20_000, epochs=(30, 400), penalty=5.0),
}

#: The settings that `layers` replaces.
IN_LAYERS = ("hidden", "activation", "dropout")

#: The treatments of missing values.
MISSING = ("impute", "error")


@explained("tables.Recipe")
class Recipe(Record):
    """Settings for training on a table. The defaults suit hundreds to tens of thousands of rows.

    The tests require of them an accuracy of 97% on scikit-learn's digits and 96.5% on its breast
    cancer table: on the validation rows, averaged over the seeds 0 to 4. These rows also choose the
    best epoch, so on new rows a model is slightly worse. `bench/REPORT.md` has scores of test rows.

    Args:
        task: "classification" or "regression"; None: as the target suggests.
        hidden: units of each hidden layer; an empty tuple makes a linear model. None: (64, 64).
        activation: of the hidden layers: a name, or a mapping of the name and constants.
        optimizer: a name, or a mapping of the name and constants; None: Adam, whose learning rate
            falls to 0 along a cosine over all epochs.
        epochs: the maximum number of passes over the training rows; None: as many as make 10,000
            steps, at least 30 and at most 200; for a regression 20,000 steps, 30 and 400.
        batch_size: rows per step; "all": every row; None: 32 (every row for L-BFGS).
        learning_rate: None: 0.002 without an optimizer, else its default.
        validation: fraction of the rows held out for validation, which chooses the best epoch. 0:
            none, and training does not stop early. `fastnet.tables.splitting` says how rows are
            chosen: of classes each in its proportion, unless `group` or `time` decides.
        test: fraction of the rows held out before that, for the report alone; 0: none. The training
            is the same as if they were not in the table.
        refit: whether a second training follows, on training and validation rows together, whose
            model is kept: `fastnet.tables.refitting`. None: in memory, if these rows are of one
            table and at most 20,000; not of members that predict numbers, whose validation rows
            calibrate intervals. Of up to 10,000 rows, folds choose how long it is, unless there is
            `time`.
        log_target: of a regression, whether the logarithm of the target is learned; predictions and
            metrics are in the target's own unit. None: if all training rows are above 0, and their
            skewness above 3, as that of prices and populations may be.
        group: a column whose values mark the rows that belong together, such as those of one
            patient: they are all held out, or none is.
        time: a column of dates, times or numbers by which rows follow each other: the last ones
            are held out.
        weights: a column that says how much each row counts, in training and in all metrics.
        id: columns that name the rows: predictions repeat them.
        class_weight: "balanced": all classes count alike, however many rows they have; or a weight
            for each class by its name, 1 where none is given. They count in the training and in
            the validation loss, not in the metrics.
        seed: determines initial weights, the rows held out, shuffles and dropout.
        backend: None: FASTNET_BACKEND, else automatic.
        dtype: "float32" or "float64".
        dropout: the probability of dropping each hidden unit during training; None: 0.
        l2: adds l2 / 2 * sum w^2 to the loss; None: 10 divided by the number of training rows, for
            a regression 5, and 0.03 at most: a prior weighs less, the more rows there are.
        members: how many networks are trained; of more than one the model is an `fn.Ensemble`.
            Member i has the seed `seed + i`, and stops by itself; all have the same rows. Members
            need the table in memory.
        search: seconds in which to look for settings by cross-validation of the training rows,
            before the training: those of hidden layers, dropout, learning rate and l2 that are None
            here (`fastnet.tables.searching`). None: no search. It needs the table in memory.
        patience: epochs in a row without a lower validation loss that end the training; the best
            parameters are kept.
        layers: the hidden layers in the form of `Network.spec`, instead of `hidden`,
            `activation` and `dropout`.
        missing: "impute": a missing number is replaced by the median of the training rows,
            missing text is a category of its own, and rows without a target are left out;
            "error": missing values are refused. `fastnet.tables.encoding` has the details.
        categories: the maximum number of categories of a text column that get an input each, the
            most frequent ones; the others share one.
        bins: of a column of numbers: each is one more input, which says how far a number has come
            in it; their edges are quantiles. 0: none. None: 32, where the folds of a small table
            show that they predict numbers better (`fastnet.tables.folding`), else none.
        drop: columns to leave out.
        categorical: columns to treat as text whatever they hold, such as numeric codes; the target
            may be one, and then its values are classes as they are spelled.
        date: columns of dates and times, which become numbers: `fastnet.tables.encoding`.
        separator: what stands between the columns of a CSV file; None: found in its first lines.
        decimal: the mark before the fraction of numbers in text.
        thousands: the mark between their groups of digits; empty: none.

    Raises:
        DefinitionError: for an invalid setting.
    """

    task: str | None = None
    hidden: tuple[int, ...] | None = None
    activation: str | Mapping[str, Any] = "relu"
    optimizer: str | Mapping[str, Any] | None = None
    epochs: int | None = None
    batch_size: int | Literal["all"] | None = None
    learning_rate: float | None = None
    validation: float = 0.2
    test: float = 0.0
    refit: bool | None = None
    log_target: bool | None = None
    group: str | None = None
    time: str | None = None
    weights: str | None = None
    id: tuple[str, ...] = ()
    class_weight: str | Mapping[str, float] | None = None
    seed: int = 0
    backend: str | None = None
    dtype: str = "float32"
    dropout: float | None = None
    l2: float | None = None
    members: int = 1
    search: float | None = None
    patience: int = 50
    layers: tuple[Mapping[str, Any], ...] | None = None
    missing: str = "impute"
    categories: int = 20
    bins: int | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    separator: str | None = None
    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            raise DefinitionError(unknown("task", self.task, TASKS))
        if not isinstance(self.hidden, tuple | list | None):
            raise DefinitionError(
                f"hidden is {self.hidden!r}; put it in a tuple: (64,) or (64, 64)."
            )
        for units in self.units:
            checks.integer(units, "hidden")
        if resolve("activation", ACTIVATIONS, self.activation).name == "softmax":
            raise DefinitionError("activation is 'softmax', which is for outputs; try 'relu'.")
        if self.epochs is not None:
            checks.integer(self.epochs, "epochs")
        if self.batch_size is not None and self.batch_size != "all":
            checks.integer(self.batch_size, "batch_size")
        checks.number(self.validation, "validation", least=0, below=1)
        checks.number(self.test, "test", least=0, below=1)
        for name in ("refit", "log_target"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, bool):
                raise DefinitionError(f"{name} is {given!r}; it must be True, False or None.")
        if self.group is not None and self.time is not None:
            raise DefinitionError(
                f"group is {self.group!r} and time is {self.time!r}; only one can decide which "
                "rows are held out."
            )
        if checks.integer(self.seed, "seed", least=0) >= 2**64:
            raise DefinitionError(f"seed is {self.seed}; it must be less than 2**64.")
        checks.dtype(self.dtype)
        if self.dropout is not None:
            checks.number(self.dropout, "dropout", least=0, below=1)
        if not isinstance(self.layers, tuple | list | None):
            raise DefinitionError(
                f"layers is {self.layers!r}; it must be a tuple of layers as in Network.spec: "
                "({'type': 'dense', 'units': 64},)."
            )
        # A setting that is given at its default looks like one that is not.
        forms = (*IN_LAYERS, "layers")
        check_layers([key for key in forms if getattr(self, key) != getattr(Recipe, key)])
        if self.l2 is not None:
            checks.number(self.l2, "l2", least=0)
        seeds_of_members(self.members, self.seed)
        if self.search is not None:
            checks.number(self.search, "search", above=0)
        checks.integer(self.patience, "patience", least=0)
        if self.missing not in MISSING:
            raise DefinitionError(unknown("treatment of missing values", self.missing, MISSING))
        checks.integer(self.categories, "categories")
        if self.bins is not None:
            checks.integer(self.bins, "bins", least=0)
        listed = {"drop": self.drop, "categorical": self.categorical, "date": self.date}
        for key, names in {**listed, "id": self.id}.items():
            if not (isinstance(names, tuple | list) and all(isinstance(n, str) for n in names)):
                raise DefinitionError(f"{key} is {names!r}; it must be a tuple of column names.")
        for one, other in combinations(listed, 2):
            both = set(listed[one]) & set(listed[other])
            if both:
                raise DefinitionError(f"{one} and {other} both name {both.pop()!r}; keep one.")
        if isinstance(self.class_weight, str) and self.class_weight != BALANCED:
            raise DefinitionError(unknown("class_weight", self.class_weight, [BALANCED]))
        if isinstance(self.class_weight, Mapping):
            for name, weight in self.class_weight.items():
                checks.number(weight, f"class_weight of {name!r}", least=0)
        for role, name in self.roles:
            if not isinstance(name, str):
                raise DefinitionError(f"{role} is {name!r}; it must be the name of a column.")
        check_separator(self.separator)
        _ = self.notation
        self.build_optimizer()  # these two check the rest
        self.build_network(1, 1, "regression")

    @property
    def units(self) -> tuple[int, ...]:
        """Of each hidden layer, without regard to `layers`."""
        return UNITS if self.hidden is None else self.hidden

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """The columns that say something about the rows: `(role, column)` each."""
        single = (("group", self.group), ("time", self.time), ("weights", self.weights))
        named = tuple((role, name) for role, name in single if name is not None)
        return (*named, *(("id", name) for name in self.id))

    @property
    def notation(self) -> Notation:
        """How numbers are written in text."""
        return Notation(self.decimal, self.thousands)

    def epochs_for(self, rows: int, task: str) -> int:
        """The epochs of a training on that many rows."""
        if self.epochs is not None:
            return self.epochs
        size = self.batch_size or 32
        if size == "all" or isinstance(self.build_optimizer(), LBFGS):
            size = rows
        default = _DEFAULTS[task]
        batches = -(-rows // size)
        return min(max(-(-default.steps // batches), default.epochs[0]), default.epochs[1])

    def l2_for(self, rows: int, task: str) -> float:
        """The penalty of a training on that many rows."""
        if self.l2 is not None:
            return self.l2
        return min(_DEFAULTS[task].penalty / rows, MOST_L2)

    def build_optimizer(self) -> Optimizer | LBFGS:
        """Make the optimizer; `learning_rate` replaces its own."""
        named = self.optimizer
        if named is None:
            rate = LEARNING_RATE if self.learning_rate is None else self.learning_rate
            return Adam(Cosine(rate))
        if not isinstance(named, str | Mapping):
            raise DefinitionError(
                f"optimizer is {named!r}; it must be a name, or a table of the name and constants."
            )
        spec: dict[str, Any] = {"name": named} if isinstance(named, str) else {**named}
        if self.learning_rate is not None:
            spec["learning_rate"] = self.learning_rate
        return resolve("optimizer", OPTIMIZERS, spec)

    def build_network(self, inputs: int, outputs: int, task: str) -> Network:
        """Make the network for this many inputs and outputs."""
        hidden: list[Mapping[str, Any]] = list(self.layers or ())
        if self.layers is None:
            for units in self.units:
                hidden.append({"type": "dense", "units": units, "activation": self.activation})
                if self.dropout:
                    hidden.append({"type": "dropout", "rate": self.dropout})
        classes = task == "classification"
        last = {
            "type": "dense",
            "units": outputs,
            "activation": "softmax" if classes else "identity",
        }
        loss = "crossentropy" if classes else "mse"
        return Network.from_spec({"inputs": inputs, "loss": loss, "layers": [*hidden, last]})


def check_layers(given: Iterable[str], where: str = "") -> None:
    """Make sure that the hidden layers are given by `layers` or by the settings that it replaces.

    Args:
        given: the names of the settings that are given.
        where: the beginning of the error's message.

    Raises:
        DefinitionError: if both are given.
    """
    given = set(given)
    if "layers" in given and (both := [key for key in IN_LAYERS if key in given]):
        names = " and ".join(both)
        raise DefinitionError(
            f"{where}layers and {names} are both given; leave {names} out: each of the layers has "
            "its own units and activation, and dropout is a layer."
        )


#: The names of all settings.
SETTINGS = names_of(Recipe)
