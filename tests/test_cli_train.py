"""`fastnet train` and `fastnet predict`: from a table to predictions, what they refuse, Ctrl-C."""

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import refuse, run, start

import fastnet as fn
from fastnet import random
from fastnet.training.progress import Bar

ROWS = 200


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of two blobs: columns a and b, text `kind`, quantity `size`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTNET_BACKEND", raising=False)
    noise = random.normal(5, random.DATA, 0, 2 * ROWS).reshape(ROWS, 2)
    kind = np.arange(ROWS) % 2
    a, b = noise[:, 0] + 4 * kind, 100 * noise[:, 1]
    frame = pl.DataFrame(
        {
            "a": a,
            "b": b,
            "kind": [("left", "right")[k] for k in kind],
            "size": 50 + 3 * a - b / 100,
        }
    )
    frame.drop("size").write_csv("kinds.csv")
    frame.drop("kind").write_csv("sizes.csv")
    frame.select("b", "a").head(7).write_csv("new.csv")
    return frame


def test_classes_from_table_to_predictions(table):
    code, out, err = run("train", "kinds.csv", "--target", "kind", "-o", "kinds.safetensors")
    assert code == 0, err
    assert re.search(r"^rows +40 +160$", out, re.MULTILINE)
    assert re.search(r"^accuracy +\d+\.\d\d% +\d+\.\d\d%$", out, re.MULTILINE)
    assert "fastnet predict kinds.safetensors" in out
    assert "classification of 'kind' into 2 classes from 2 columns" in err
    assert "\x1b" not in out + err

    code, out, err = run("predict", "kinds.safetensors", "kinds.csv")
    assert code == 0
    assert re.fullmatch(r"accuracy .* \(of the 200 rows with a target\)\n", err)
    found = pl.read_csv(out.encode())
    expected = ["prediction", "probability", "probability_left", "probability_right"]
    assert found.columns == expected
    assert (found["prediction"] == table["kind"]).mean() > 0.9
    either = np.maximum(found["probability_left"], found["probability_right"])
    np.testing.assert_array_equal(found["probability"], either)
    total = found["probability_left"] + found["probability_right"]
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_quantities_come_back_in_their_own_unit(table):
    code, out, err = run("train", "sizes.csv", "--target", "size", "-o", "s.safetensors")
    assert code == 0, err
    assert "regression of 'size' from 2 columns" in err
    validation = float(re.search(r"^R² +(\S+) +\S+$", out, re.MULTILINE)[1])
    assert 0.97 < validation <= 1
    code, _, err = run("predict", "s.safetensors", "sizes.csv", "-o", "out.parquet")
    assert code == 0
    assert re.fullmatch(r"R² .* target\)\n200 predictions written to 'out.parquet'\n", err)
    predicted = pl.read_parquet("out.parquet")
    assert predicted.columns == ["prediction"]
    error = predicted["prediction"] - table["size"]
    assert np.sqrt((error**2).mean()) < 0.2 * table["size"].std()


def test_column_order_does_not_matter(table):
    run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", "--epochs", "3")
    _, swapped, _ = run("predict", "k.safetensors", "new.csv")
    table.select("a", "b").head(7).write_csv("straight.csv")
    assert run("predict", "k.safetensors", "straight.csv")[1] == swapped
    assert swapped.count("\n") == 8


def test_same_seed_same_file_other_seed_another(table):
    def trained(name, seed):
        options = ("--epochs", "4", "--seed", seed, "-o", name)
        assert run("train", "kinds.csv", "--target", "kind", *options)[0] == 0
        return Path(name).read_bytes()

    assert trained("one.safetensors", 7) == trained("two.safetensors", 7)
    assert trained("three.safetensors", 8) != trained("one.safetensors", 7)


def test_options_reach_the_network(table):
    options = "--hidden 5,3 --activation tanh --dtype float64 --dropout 0.1 --backend numpy"
    more = "--epochs 6 --batch-size all --optimizer sgd --learning-rate 0.1 --validation 0"
    where = ("--target", "kind", "-o", "k.safetensors")
    code, out, err = run("train", "kinds.csv", *where, *options.split(), *more.split())
    assert code == 0, err
    assert "validation" not in out
    assert "6 epochs" in out
    model = fn.load("k.safetensors")
    assert model.dtype == "float64"
    tanh = fn.Tanh()
    layers = [fn.Dense(5, tanh), fn.Dropout(0.1), fn.Dense(3, tanh), fn.Dropout(0.1)]
    last = fn.Dense(2, "softmax")
    assert model.network == fn.Network(2, [*layers, last], loss="crossentropy")


def test_configuration_file_and_options_before_it(table):
    Path("net.toml").write_text(
        'target = "kind"\noutput = "k.safetensors"\nepochs = 9\nbatch_size = 50\nseed = 4\n'
        '[optimizer]\nname = "sgd"\nlearning_rate = 0.5\nmomentum = 0.9\n'
        '[[layers]]\ntype = "dense"\nunits = 6\nactivation = { name = "leaky_relu", slope = 0.3 }\n'
        '[[layers]]\ntype = "dropout"\nrate = 0.25\n'
    )
    code, out, err = run("train", "kinds.csv", "--config", "net.toml", "--epochs", "2")
    assert code == 0, err
    assert "2 epochs" in out
    model = fn.load("k.safetensors")
    assert model.seed == 4
    hidden = [fn.Dense(6, fn.LeakyReLU(slope=0.3)), fn.Dropout(0.25)]
    wanted = fn.Network(2, [*hidden, fn.Dense(2, "softmax")], loss="crossentropy")
    assert model.network == wanted
    assert run("train", "kinds.csv", "--config", "net.toml", "--hidden", "none")[0] == 0
    linear = fn.Network(2, [fn.Dense(2, "softmax")], loss="crossentropy")
    assert fn.load("k.safetensors").network == linear


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs = ", "is not valid TOML"),
        ('epochs = "3"', "epochs is '3'"),
        ("target = 3", "target is 3; it must be text"),
        ("resume = 1", "resume is 1; it must be true or false"),
        ("hidden = [3.5]", "hidden is [3.5]"),
        ("hidden = [4]\n[[layers]]\ntype = 'dense'\nunits = 3", "layers and hidden are both given"),
        ("[[layers]]\ntype = 'dense'\nunit = 3", "layer 0 has no 'units'"),
        ("layers = 3", "layers is 3"),
        ("[optimizer]\nname = 'sgd'\nrate = 1", "optimizer 'sgd' has no constant 'rate'"),
        ("learning_rate = 1\n[optimizer]\nname = 'sgd'\nlearning_rate = 1", "keep one"),
        ("dropout = 'half'", "dropout is 'half'"),
    ],
)
def test_configurations_that_are_refused(table, text, message):
    Path("net.toml").write_text(text)
    place = ("--target", "kind", "-o", "k.safetensors")
    if text.startswith("target"):
        place = place[2:]
    assert message in refuse("train", "kinds.csv", *place, "--config", "net.toml", code=2)
    assert not Path("k.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--hidden", "64,x"), "hidden is '64,x'", 2),
        (("--hidden", "64,0"), "hidden is 0", 2),
        (("--activation", "rleu"), "did you mean 'relu'?", 2),
        (("--activation", "softmax"), "which is for outputs", 2),
        (("--optimizer", "admm"), "unknown optimizer 'admm'", 2),
        (("--optimizer", "lbfgs", "--dropout", "0.5"), "same loss at every call", 2),
        (("--epochs", "0"), "epochs is 0", 2),
        (("--batch-size", "few"), "batch_size is 'few'", 2),
        (("--learning-rate", "-1"), "learning rate is -1.0", 2),
        (("--validation", "1"), "validation is 1.0", 2),
        (("--validation", "0.999"), "leaves 0 of", 1),
        (("--seed", "-1"), "seed is -1", 2),
        (("--dtype", "float8"), "dtype is 'float8'", 2),
        (("--dropout", "1"), "dropout is 1.0", 2),
        (("--l2", "-0.1"), "l2 is -0.1", 2),
        (("--patience", "-1"), "patience is -1", 2),
        (("--task", "regresion"), "did you mean 'regression'?", 2),
        (("--task", "regression"), "the target 'kind' holds text", 1),
        (("--class-weight", "5"), "class_weight is '5'; write balanced, or class=weight", 2),
        (("--class-weight", "a=1,a=2"), "class_weight is 'a=1,a=2', which names 'a' twice", 2),
        (("--class-weight", "a=-1"), "class_weight of 'a' is -1.0; it must be at least 0", 2),
        (("--backend", "nunpy"), "did you mean 'numpy'?", 2),
        (("--resume", "--optimizer", "lbfgs"), "--resume needs --checkpoint", 2),
        (("--config", "missing.toml"), "no configuration 'missing.toml'", 1),
        (("--checkpoint", "k.safetensors"), "are the same file; choose another output", 2),
        (("--checkpoint", "missing/c"), "checkpoint 'missing/c' cannot be written", 1),
        (("--target", "kidn"), "did you mean 'kind'?", 1),
        (("-o", "missing/k.safetensors"), "No such file or directory", 1),
        (("-o", "."), "is a folder", 1),
        (("-o", "kinds.csv"), "are the same file; choose another output", 2),
        (("-o", "other.csv"), "the name of a table", 2),
        (("-o", "kinds.onnx"), "train to 'kinds.safetensors', and then export", 2),
    ],
)
def test_training_that_is_refused_leaves_nothing(table, arguments, message, code):
    before = sorted(Path.cwd().iterdir())
    given = ["train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", *arguments]
    assert message in refuse(*given, code=code)
    assert sorted(Path.cwd().iterdir()) == before


def test_usage_errors_of_train(table):
    assert "--target" in refuse("train", "kinds.csv", "-o", "k", code=2)
    assert "-o FILE" in refuse("train", "kinds.csv", "--target", "kind", code=2)
    assert "--epochs" in refuse("train", "kinds.csv", "--epochs", "ten", code=2)


def test_a_training_that_diverges_keeps_the_old_model(table):
    Path("k.safetensors").write_bytes(b"what was there")
    options = ("--optimizer", "sgd", "--learning-rate", "1e30")
    _, _, err = run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", *options)
    assert "no model was written. Try a smaller --learning-rate than 1e+30" in err
    assert Path("k.safetensors").read_bytes() == b"what was there"


def test_results_that_cannot_be_written_are_a_failure(table):
    run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", "--epochs", "2")

    def hardly_any_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    for command in (["predict", "k.safetensors", "kinds.csv"], ["xor", "--steps", "1000"]):
        with open("out.txt", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "fastnet", *command],
                stdout=full,
                stderr=subprocess.PIPE,
                preexec_fn=hardly_any_room,
            )
        assert done.returncode == 1
        assert b"cannot write the results: File too large" in done.stderr
        assert b"Traceback" not in done.stderr


def test_predict_refuses(table):
    run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", "--epochs", "2")
    table.select("a", "kind").write_csv("less.csv")
    Path("link.csv").symlink_to("new.csv")
    table.select("a", "b", "kind", "size").write_csv("more.csv")
    assert "it lacks 'b'" in refuse("predict", "k.safetensors", "less.csv")
    error = refuse("predict", "k.safetensors", "more.csv")
    assert "columns that do not match" in error
    assert "does not know 'size'" in error
    assert "there is no file 'no.csv'" in refuse("predict", "k.safetensors", "no.csv")
    assert "there is no file 'no.st'" in refuse("predict", "no.st", "new.csv")
    assert "not a fastnet file" in refuse("predict", "new.csv", "new.csv")
    assert "must end in .csv" in refuse("predict", "k.safetensors", "new.csv", "-o", "p.txt")
    for path in ("new.csv", "link.csv"):
        error = refuse("predict", "k.safetensors", "new.csv", "-o", path, code=2)
        assert "and table 'new.csv' are the same file" in error
    fn.Model(fn.datasets.xor_network()).save("xor.safetensors")
    assert "not trained on a table" in refuse("predict", "xor.safetensors", "new.csv")
    damaged = bytearray(Path("k.safetensors").read_bytes())
    damaged[-3] ^= 1
    Path("k.safetensors").write_bytes(damaged)
    assert "altered" in refuse("predict", "k.safetensors", "new.csv")


def test_without_polars_the_pip_line_is_said(table):
    code = (
        "import sys; sys.modules['polars'] = None; "
        "sys.argv = ['fastnet', 'train', 'kinds.csv', '--target', 'kind', '-o', 'k']; "
        "from fastnet.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: reading tables needs polars")
    assert 'python -m pip install "polars>=' in done.stderr


def test_pipe_closed_by_the_reader_is_no_traceback(table):
    wide = pl.concat([table.select("a", "b")] * 500)
    wide.write_csv("wide.csv")
    run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", "--epochs", "1")
    process = start("predict", "k.safetensors", "wide.csv")
    assert process.stdout.readline().startswith("prediction,")
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in error


# --- Ctrl-C and --resume -----------------------------------------------------------------------


@pytest.fixture
def interrupted(table, monkeypatch):
    """A training that Ctrl-C interrupts: it returns exit code, standard error, epochs done."""

    def train(*arguments):
        update = Bar.update

        def interrupt(bar, done, *more):
            update(bar, done, *more)
            if done >= 3:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Bar, "update", interrupt)
            # A learning rate that is the same for any number of epochs, which --resume changes.
            steady = ("--optimizer", "adam", "--patience", "10000000")
            options = ("--target", "kind", *arguments, *steady)
            code, out, err = run("train", "kinds.csv", *options)
        assert out == ""
        return code, err, int(re.search(r"after (\d+) epochs", err)[1])

    return train


def test_interrupted_training_continues_as_if_it_had_not_been(interrupted):
    Path("k.safetensors").write_bytes(b"what was there")
    options = ("-o", "k.safetensors", "--checkpoint", "run.ckpt")
    code, err, done = interrupted(*options, "--epochs", "10000000")
    assert code == 130
    assert "no model was written" in err
    assert "checkpoint in 'run.ckpt': to continue, repeat the command with --resume" in err
    assert done >= 3
    assert Path("k.safetensors").read_bytes() == b"what was there"

    common = ("train", "kinds.csv", "--target", "kind", "--optimizer", "adam",
              "--patience", "10000000")  # fmt: skip
    more = ("--epochs", done + 3)
    assert "already exists: add --resume" in refuse(*common, *more, *options, code=2)
    assert run(*common, *more, *options, "--resume")[0] == 0
    assert run(*common, *more, "-o", "straight.safetensors")[0] == 0
    assert Path("k.safetensors").read_bytes() == Path("straight.safetensors").read_bytes()
    other = refuse(*common, *more, *options, "--resume", "--l2", "0.5")
    assert "is of another fit: its l2 was 0.0" in other


def test_interrupted_training_keeps_a_temporary_checkpoint(interrupted):
    code, err, _ = interrupted("-o", "k.safetensors", "--epochs", "10000000")
    assert code == 130
    assert "checkpoint in 'k.safetensors.checkpoint': to continue, repeat" in err
    assert not Path("k.safetensors").exists()
    code, _, err = run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors")
    assert (code, "already exists: add --resume" in err) == (2, True)
    again = ("--resume", "--epochs", "1", "--optimizer", "adam")
    code, _, err = run("train", "kinds.csv", "--target", "kind", "-o", "k.safetensors", *again)
    assert (code, "nothing left to train but the second time, on all rows" in err) == (0, True)
    assert sorted(map(str, Path().glob("k.*"))) == ["k.safetensors"]
