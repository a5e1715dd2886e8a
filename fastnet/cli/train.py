"""`fastnet train`."""

import shlex
from functools import partial

import typer

from fastnet.cli import configuration, crossing, options, results, training
from fastnet.cli.terminal import BackendOption, JsonOption, SeparatorOption, document, say
from fastnet.training.processes import joined


def command(
    data: options.Data,
    target: options.Target = None,
    output: options.Output = None,
    task: options.Task = None,
    missing: options.Missing = None,
    categories: options.Categories = None,
    bins: options.Bins = None,
    drop: options.Drop = None,
    categorical: options.Categorical = None,
    date: options.Date = None,
    separator: SeparatorOption = None,
    decimal: options.Decimal = None,
    thousands: options.Thousands = None,
    test: options.Test = None,
    validation: options.Validation = None,
    refit: options.Refit = None,
    log_target: options.LogTarget = None,
    group: options.Group = None,
    time: options.Time = None,
    weights: options.Weights = None,
    class_weight: options.ClassWeight = None,
    id: options.Id = None,  # noqa: A002, as the option is called
    cross_validate: options.CrossValidate = None,
    hidden: options.Hidden = None,
    activation: options.Activation = None,
    optimizer: options.Optimizer = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    members: options.Members = None,
    search: options.Search = None,
    patience: options.Patience = None,
    dropout: options.Dropout = None,
    l2: options.L2 = None,
    seed: options.Seed = None,
    backend: BackendOption = None,
    dtype: options.Dtype = None,
    checkpoint: options.Checkpoint = None,
    resume: options.Resume = None,
    memory: options.Memory = None,
    config: options.Config = None,
    plot: options.Plot = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network on a table with one row for each example and one column for the target.

        fastnet train digits.csv --target digit -o digits.safetensors

    Some rows, chosen at random, are held out for validation, and choose the best epoch. Then a
    model is trained on these rows too, and kept (--no-refit: that of the best epoch). New rows are
    predicted slightly worse than validation rows: --test holds rows out that the training never
    sees. The report shows the metrics of all parts, and how each column is used. Medians,
    means and categories come from the rows that a model is trained on, and are stored with it.

    --cross-validate 5 says how good such models are, and how much that varies: each of five models
    is tested on a fifth of the rows. With -o one more is trained on all rows, and written.

    With --members 8 eight networks are trained at once, and the mean of what they predict is the
    prediction; of numbers there are intervals too (`fastnet predict --interval 0.9`).

    With --search 60s hidden layers, dropout, learning rate and l2 are chosen within a minute before
    the training, by cross-validation of the training rows; those that are given here stay as they
    are. A search that is stopped goes on with --resume.

    Numbers are standardized; true and false are 1 and 0. A missing number (an empty field, NaN,
    NA, n/a, null, none, ?, - or .) is replaced by the median, and one more input indicates it. To
    predict a number, inputs may be added that say how far each number has come in bins between
    quantiles, from which jumps are learned; folds of a small table show whether they help (--bins).

    Text is one-hot encoded: one input for each of the most frequent categories, and one for all
    others, including those that are not in the training rows. Missing text (an empty field) is a
    category of its own.

    Started by mpiexec, processes train together: each reads a part of the table.

    With --memory a table may be larger than memory; `fastnet convert` keeps one for many trainings.

    Left out are columns with the same value in every row, text that differs in more than half of
    the rows (such as names and identifiers), row labels that pandas or R saved, and rows without
    a target.

    Dates and times are refused unless --date names their column. It then becomes the days since the
    first date and the year, standardized, and sine and cosine of the month, the day of the week and
    the time of day. All dates of a column are written in one form, such as 2026-11-28 14:30.
    """
    given = dict(locals())
    for name in ("data", "config", "as_json"):
        del given[name]
    for name in configuration.NAMES:
        given[name] = options.names(given[name])
    read = configuration.read(config) if config is not None else {}
    settings = configuration.merge(read, given)
    folds = settings.get("cross_validate")
    for needed, flag in (("target", "--target COLUMN"), ("output", "-o FILE")):
        spared = folds if needed == "output" else data.is_dir()  # a converted table has its target
        if not settings.get(needed) and not spared:
            raise typer.BadParameter(f"{flag} is required, here or in --config.")
    if folds is not None and folds < 2:
        raise typer.BadParameter(f"cross_validate is {folds}; it must be 2 folds or more.")
    if folds and (settings.get("memory") or data.is_dir()):
        raise typer.BadParameter(
            "--cross-validate needs the table in memory; leave out --memory, and give the table "
            "itself, not a folder of `fastnet convert`."
        )
    files_read = {"table": data, "configuration": config, **configuration.tables(settings)}
    if settings.get("plot") and not settings.get("output"):
        raise typer.BadParameter("--plot is of the model that -o FILE writes; add that.")
    recipe = configuration.recipe(settings)
    together = training.begin_together(data, settings)
    checked = partial(training.Paths.of, files_read, settings, recipe)
    paths = joined(together).on_first(checked)
    from fastnet.tables import reading

    crossed = done = None
    if folds:
        if str(data) == reading.STANDARD_INPUT:  # which can be read once
            paths.read["table"] = reading.read(data, settings.get("separator"))
        crossed = crossing.run(paths, settings, recipe, folds)
    if paths.output is not None:
        done = training.run(paths, settings, recipe, together)
    if folds:
        crossing.remove_checkpoints(paths, folds)
    if together.rank:
        return
    if as_json:
        document(results.plain_of_all(crossed, done, paths.output))
        return
    if crossed is not None:
        results.show_cross_validation(crossed)
    if done is not None:
        results.show(done)
        say(f"model written to {str(paths.output)!r}; use it with")
        say(f"    fastnet predict {shlex.quote(str(paths.output))} new.csv")
