"""A fit that is killed at any moment, again and again, ends as one that was left alone."""

import json
import os
import time

import child
import numpy as np
import pytest

#: One fit, checkpointed all the time; it prints "go" when it has begun and its end as JSON.
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
print("go", flush=True)
history = model.fit(
    x, y, optimizer=optimizer, epochs=epochs, batch_size=16, validation=0.2,
    early_stopping=fn.EarlyStopping(epochs - 20), l2=1e-4, clip_norm=1.0,
    checkpoint=fn.Checkpoint(path, seconds=0.01) if path else None, resume=bool(path),
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
EPOCHS = "260"
KILLS = 5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_killed_again_and_again_ends_like_one_left_alone(tmp_path, name):
    optimizer = json.dumps(OPTIMIZERS[name])
    wanted = child.run(FIT, "", optimizer, EPOCHS).splitlines()
    path = tmp_path / "checkpoint"
    generator = np.random.default_rng(len(name))
    killed = 0
    for _ in range(KILLS):
        with child.start(FIT, str(path), optimizer, EPOCHS) as process:
            assert process.stdout.readline() == "go\n"
            time.sleep(generator.uniform(0.02, 0.12))
            process.kill()
            rest, errors = process.communicate()
        assert errors == ""
        killed += not rest
        # The checkpoint, and what the last writer may have left.
        assert len(os.listdir(tmp_path)) <= 2
    found = child.run(FIT, str(path), optimizer, EPOCHS).splitlines()
    assert killed >= 2, "the fit was over before it could be killed"
    assert os.listdir(tmp_path) == ["checkpoint"]
    found, wanted = json.loads(found[1]), json.loads(wanted[1])
    for fact in wanted:
        assert found[fact] == wanted[fact], fact
    assert len(set(wanted["learning_rate"])) > 1
