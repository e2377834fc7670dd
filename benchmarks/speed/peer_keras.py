"""The same network in Keras on TensorFlow, run by the interpreter of Keras.

train STEPS VARIANT     worker of training_speed; VARIANT is default, jit or bfloat16
latency KERAS_FILE      worker of network_latency
save KERAS_FILE         write the (untrained) network
predict KERAS_FILE FILM a whole process that classifies one film
"""

import sys
import time
from typing import Any

SIZE, BATCH = 200, 32


def network(keras: Any) -> Any:
    """Return the baseline network in Keras."""
    layers = keras.layers
    blocks = []
    for _ in range(4):
        blocks += [
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
        ]
    head = [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), *blocks, *head])
    assert model.count_params() == 720_545
    return model


def versions() -> dict[str, str]:
    """Return the versions of Keras and TensorFlow."""
    import keras
    import tensorflow

    return {"keras": keras.__version__, "tensorflow": tensorflow.__version__}


def train(steps: int, variant: str) -> None:
    """Run epochs of `model.fit` on films in memory, on request."""
    import keras
    import numpy as np

    from benchmarks.timing import Stopwatch
    from benchmarks.workers import Wire

    wire = Wire()
    if variant == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = network(keras)
    compilation = {"jit_compile": True} if variant == "jit" else {}
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", **compilation)
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (steps * BATCH, SIZE, SIZE, 1), np.uint8) / np.float32(255)).astype(np.float32)
    y = (np.arange(len(x)) % 2).astype(np.float32)
    # The first calls trace and compile.
    for _ in range(2):
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    wire.send(**versions(), jit_compile=bool(model.jit_compile))
    for request in wire.requests():
        count = request["steps"] * BATCH
        watch = Stopwatch()
        model.fit(x[:count], y[:count], batch_size=BATCH, epochs=1, verbose=0)
        wire.send(**watch.read())


def latency(path: str) -> None:
    """Measure the time of one film, by `model.predict` and by calling the model, on request."""
    import keras
    import numpy as np

    from benchmarks.workers import Wire

    wire = Wire()
    model = keras.saving.load_model(path)
    film = np.random.default_rng(0).random((1, SIZE, SIZE, 1), np.float32)
    ways = {
        "predict": lambda: model.predict(film, verbose=0),
        "call": lambda: np.asarray(model(film, training=False)),
    }
    for way in ways.values():
        for _ in range(3):
            way()
    wire.send(**versions())
    for request in wire.requests():
        way = ways[request["way"]]
        times = []
        for _ in range(request["films"]):
            started = time.perf_counter()
            way()
            times.append(1e3 * (time.perf_counter() - started))
        wire.send(milliseconds=times)


def predict(path: str, film: str) -> None:
    """Classify one film from its file, as a script with Keras would."""
    import keras
    import numpy as np
    from PIL import Image

    model = keras.saving.load_model(path)
    picture = Image.open(film).convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    batch = np.asarray(picture, np.float32)[None, :, :, None] / 255
    print(f"{film},{float(model.predict(batch, verbose=0)[0, 0]):.6f}")


def save(path: str) -> None:
    """Write the network to a .keras file and print the versions."""
    import keras

    network(keras).save(path)


def main() -> None:
    """Run the command in the first argument."""
    kind, *rest = sys.argv[1:]
    if kind == "train":
        train(int(rest[0]), rest[1])
    else:
        {"latency": latency, "predict": predict, "save": save}[kind](*rest)


if __name__ == "__main__":
    main()
