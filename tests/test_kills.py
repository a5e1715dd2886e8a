"""A fit that is killed again and again ends as one that was left alone."""

import json
import os

import child
import pytest

#: One fit, checkpointed after every epoch; it prints its end as JSON.
FIT = """
import json, sys
import numpy as np
import fastnet as fn

path, optimizer, epochs = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
generator = np.random.default_rng(0)
x = generator.standard_normal((230, 6))
y = np.sin(x @ generator.standard_normal((6, 2))) + generator.standard_normal((230, 2))
layers = [fn.Dense(24, "tanh"), fn.Dropout(0.2), fn.Dense(2)]
model = fn.Model(fn.Network(6, layers), backend="numpy", dtype="float64", seed=5)
history = model.fit(
    x, y, optimizer=optimizer, epochs=epochs, batch_size=16, validation=0.2,
    early_stopping=fn.EarlyStopping(epochs - 20), l2=1e-4, clip_norm=1.0,
    checkpoint=fn.Checkpoint(path, seconds=None, epochs=1) if path else None, resume=bool(path),
)
print(json.dumps({
    "parameters": model.parameters.flat.tobytes().hex(),
    "epoch": history.epoch, "loss": history.loss, "validation_loss": history.validation_loss,
    "learning_rate": history.learning_rate,
}))
"""

PLATEAU = {"name": "reduce_on_plateau", "rate": 0.05, "factor": 0.7, "patience": 2}
OPTIMIZERS = {
    "momentum_with_plateau": {"name": "sgd", "learning_rate": PLATEAU, "momentum": 0.9},
    "adam_with_cosine": {"name": "adam", "learning_rate": {"name": "cosine", "rate": 0.01}},
}
EPOCHS = "120"
KILLS = 6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_killed_again_and_again_ends_like_one_left_alone(tmp_path, name):
    optimizer = json.dumps(OPTIMIZERS[name])
    wanted = json.loads(child.run(FIT, "", optimizer, EPOCHS))
    path = tmp_path / "checkpoint"

    def written():
        return path.stat().st_mtime_ns if path.exists() else 0

    for kill in range(KILLS):
        before = written()
        with child.start(FIT, str(path), optimizer, EPOCHS) as process:
            child.wait_until(lambda before=before: written() > before, process)
            if kill % 2:  # while the next checkpoint is being written
                child.wait_until(lambda: len(os.listdir(tmp_path)) > 1, process)
            process.kill()
            assert process.communicate() == ("", "")
        # The checkpoint, and what the last writer may have left.
        assert len(os.listdir(tmp_path)) <= 2
    found = json.loads(child.run(FIT, str(path), optimizer, EPOCHS))
    assert os.listdir(tmp_path) == ["checkpoint"]
    for fact in wanted:
        assert found[fact] == wanted[fact], fact
    assert len(set(wanted["learning_rate"])) > 1
