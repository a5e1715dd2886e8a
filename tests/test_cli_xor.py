"""`fastnet xor`."""

import re

import pytest
from commands import refuse, run
from matplotlib.image import imread


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTNET_BACKEND", raising=False)
    return tmp_path


def losses(out):
    """Step, mean squared error and mean |y - prediction|, as printed."""
    rows = re.findall(r"^ *([\d,]+)  ([\d.e-]+) +([\d.e-]+)$", out, re.MULTILINE)
    return {int(step.replace(",", "")): (mse, mae) for step, mse, mae in rows}


def test_xor_learns_from_the_tutorials_start():
    code, out, err = run("xor", "--seed", "tutorial", "--backend", "numpy")
    assert code == 0, err
    assert err == ""
    shown = losses(out)
    assert list(shown) == [0, 1, 10, 100, 1000, 10000]
    assert shown[0] == ("0.268576074181773", "0.5013730688788007")
    squared = [float(mse) for mse, _ in shown.values()]
    reference = {1: 0.2558948628059844, 100: 0.22221116652924525, 1000: 0.16281817069474008}
    for step, expected in reference.items():
        assert float(shown[step][0]) == pytest.approx(expected, rel=1e-11)
    assert squared[-1] == pytest.approx(0.00010782107079601298, rel=1e-11)
    assert squared == sorted(squared, reverse=True)
    assert out.count("yes") == 4
    assert "NO" not in out
    assert "backend numpy, float64 (chosen by --backend)" in out
    assert "FASTNET_BACKEND" in out
    assert float(re.search(r"^([\d.e+]+) µs per step$", out, re.MULTILINE)[1]) > 0
    assert max(map(len, out.splitlines())) <= 80


def test_xor_fails_where_a_row_is_wrong():
    code, out, err = run("xor", "--steps", "5")
    assert code == 1
    assert list(losses(out)) == [0, 1, 5]
    assert "NO" in out
    assert err.startswith("error: after 5 steps only ")


def test_xor_does_as_its_options_say():
    base = losses(run("xor", "--steps", "20")[1])
    other = losses(run("xor", "--steps", "20", "--seed", "3")[1])
    slower = losses(run("xor", "--steps", "20", "--learning-rate", "0.5")[1])
    single = losses(run("xor", "--steps", "20", "--dtype", "float32")[1])
    assert other[0] != base[0]
    assert slower[0] == base[0]
    assert float(slower[20][0]) > float(base[20][0])
    assert single[20] != base[20]
    assert float(single[20][0]) == pytest.approx(float(base[20][0]), rel=1e-5)


def test_environment_chooses_the_backend():
    assert "(chosen by FASTNET_BACKEND=numpy)" in run("xor", FASTNET_BACKEND="numpy")[1]
    error = refuse("xor", FASTNET_BACKEND="nunpy")
    assert "did you mean 'numpy'?" in error
    code, out, _ = run("xor", "--backend", "numpy", FASTNET_BACKEND="nunpy")
    assert code == 0
    assert "chosen by --backend" in out


def test_xor_draws_curve_and_surface(folder):
    assert run("xor", "--plot", "xor.png", "--steps", "3000")[0] == 0
    picture = imread("xor.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 1000
    right = picture[:, picture.shape[1] // 2 :, :3]
    red = (right[..., 0] > right[..., 2] + 0.2).mean()
    blue = (right[..., 2] > right[..., 0] + 0.2).mean()
    assert red > 0.1  # the band of ones
    assert blue > 0.1  # the two corners of zeros


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--steps", "0"), "steps is 0", 2),
        (("--learning-rate", "0"), "learning rate is 0.0", 2),
        (("--seed", "first"), "seed is 'first'; it must be 'tutorial' or an integer", 2),
        (("--dtype", "float16"), "dtype is 'float16'", 2),
        (("--plot", "xor.jpg"), "must end in .png", 2),
        (("--plot", "missing/xor.png"), "No such file or directory", 1),
    ],
)
def test_xor_refuses(folder, arguments, message, code):
    assert message in refuse("xor", *arguments, code=code)


def test_xor_usage_error():
    assert "--steps" in refuse("xor", "--steps", "many", code=2)
