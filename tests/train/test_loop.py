import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pneumoscan.errors import Terminated, TrainingDivergedError
from pneumoscan.imaging import Preprocessing
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.networks.registry import build
from pneumoscan.train.backend import Backend
from pneumoscan.train.checkpoint import Plateau, learning_rate, make_optimizer, one_cycle
from pneumoscan.train.config import OptimizerConfig, ScheduleConfig
from pneumoscan.train.films import micro_batches
from pneumoscan.train.loop import Unobserved, fit

FLAGSHIP = ("model.name=flagship", "model.stem=4", "model.channels=[8, 8]", "model.blocks=[1, 1]")


class Killer(Unobserved):
    """Sends this process a signal after a step."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number, self.steps = at, number, 0

    def step(self, *_: object) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), self.number)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_micro_batched_gradients_are_those_of_the_whole_batch(threads: int) -> None:
    torch.manual_seed(0)
    network = build(BaselineConfig(), 64)
    films, labels = torch.randn(32, 1, 64, 64), (torch.rand(32) > 0.5).float()
    F.binary_cross_entropy_with_logits(network(films), labels).backward()
    whole = [parameter.grad.clone() for parameter in network.parameters()]
    network.to(memory_format=torch.channels_last)

    def learn(rows, replica):
        logits = replica(films[rows])
        (F.binary_cross_entropy_with_logits(logits, labels[rows], reduction="sum") / 32).backward()
        return logits.detach()

    with Backend(network, threads=threads, precision="float32") as backend:
        logits = backend.each_piece(micro_batches(np.arange(32), 8), learn, seed=(0, 0))
    for parameter, expected in zip(network.parameters(), whole, strict=True):
        assert (parameter.grad - expected).norm() / expected.norm() < 1e-5
    torch.testing.assert_close(torch.cat(logits), network(films).detach(), rtol=1e-4, atol=1e-5)


def test_training_learns_and_keeps_the_best_epoch(small_config, small_films) -> None:
    result = fit(small_config("loop.epochs=15", "optimizer.learning_rate=0.003"), small_films)
    losses = [record["val_loss"] for record in result.history]
    assert len(losses) == 15
    assert result.kept_epoch == int(np.argmin(losses)) + 1
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]
    assert max(record["val_auc"] for record in result.history) > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small_config, small_films) -> None:
    options = (
        "model.dropout=0.3",
        "augmentation.rotation=10",
        "augmentation.noise=0.02",
        "loop.ema_decay=0.9",
    )
    first = fit(small_config(*options), small_films)
    second = fit(small_config(*options), small_films)
    other = fit(small_config(*options, "loop.seed=1"), small_films)
    assert same(first.weights, second.weights)
    assert not same(first.weights, other.weights)


# One of each kind of state: none, one buffer, two buffers and a count.
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_a_terminated_run_goes_on_to_the_same_weights(
    optimizer, small_config, small_films, tmp_path: Path
) -> None:
    config = small_config(
        f"optimizer.name={optimizer}", "optimizer.learning_rate=0.003", "model.dropout=0.2", "loop.ema_decay=0.9",
        "schedule.name=plateau", "augmentation.flip=0.5",
    )  # fmt: skip
    whole = fit(config, small_films)
    with pytest.raises(Terminated):
        fit(config, small_films, folder=tmp_path, observer=Killer(6, signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        fit(config, small_films, folder=tmp_path, observer=Killer(1, signal.SIGINT))
    resumed = fit(config, small_films, folder=tmp_path)
    assert same(whole.weights, resumed.weights)
    assert [r["val_loss"] for r in whole.history] == [r["val_loss"] for r in resumed.history]
    assert [r["train_loss"] for r in whole.history] == [r["train_loss"] for r in resumed.history]


def test_a_terminated_run_in_bfloat16_goes_on_to_the_same_weights(
    small_config, small_films, tmp_path: Path
) -> None:
    config = small_config("loop.precision=bfloat16", "loop.worker_threads=2", "augmentation.flip=0.5")
    whole = fit(config, small_films)
    with pytest.raises(Terminated):
        fit(config, small_films, folder=tmp_path, observer=Killer(4, signal.SIGTERM))
    assert same(whole.weights, fit(config, small_films, folder=tmp_path).weights)


def test_bfloat16_trains_with_our_pooling_as_with_that_of_torch(
    small_config, small_films, monkeypatch
) -> None:
    config = small_config("loop.precision=bfloat16", "loop.epochs=2")
    ours = fit(config, small_films)
    monkeypatch.setattr("pneumoscan.networks.layers._is_suitable", lambda _: False)
    assert same(ours.weights, fit(config, small_films).weights)


def test_early_stopping_stops_and_restores_the_best(small_config, small_films) -> None:
    config = small_config("loop.epochs=40", "loop.early_stopping=2", "optimizer.learning_rate=0.01")
    result = fit(config, small_films)
    assert result.stopped_early
    assert len(result.history) == result.kept_epoch + 2
    shorter = fit(
        small_config(f"loop.epochs={result.kept_epoch}", "optimizer.learning_rate=0.01"), small_films
    )
    assert same(result.weights, shorter.weights)


def test_without_restore_best_the_last_weights_are_kept(small_config, small_films) -> None:
    last = fit(small_config("loop.restore_best=false", "optimizer.learning_rate=0.02"), small_films)
    best = fit(small_config("loop.restore_best=true", "optimizer.learning_rate=0.02"), small_films)
    assert same(last.weights, best.weights) == (best.kept_epoch == 3)


def test_a_diverging_run_says_so(small_config, small_films) -> None:
    config = small_config("optimizer.name=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(TrainingDivergedError, match="step"):
        fit(config, small_films)


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_found(small_config, small_films) -> None:
    # One step an epoch: its loss is taken before the weights are spoilt.
    config = small_config("optimizer.name=sgd", "optimizer.learning_rate=1e30", "loop.batch_size=60")
    with pytest.raises(TrainingDivergedError, match="held-out films are not finite after epoch 1"):
        fit(config, small_films)


def test_class_weights_and_smoothing_change_the_loss_as_their_formulas_say(small_config, small_films) -> None:
    films = small_films
    films.labels[:15] = 0
    weights = films.class_weights()
    counts = np.bincount(films.labels[films.train].astype(int))
    assert weights == pytest.approx(60 / (2 * counts))
    assert (weights[films.labels[films.train].astype(int)]).mean() == pytest.approx(1)
    plain, balanced = fit(small_config(), films), fit(small_config("loss.class_weights=balanced"), films)
    smooth = fit(small_config("loss.label_smoothing=0.2"), films)
    assert not same(plain.weights, balanced.weights)
    assert not same(plain.weights, smooth.weights)


def test_bfloat16_training_follows_float32(small_config, small_films) -> None:
    exact = fit(small_config("loop.epochs=2"), small_films)
    rough = fit(small_config("loop.epochs=2", "loop.precision=bfloat16"), small_films)
    assert rough.history[0]["train_loss"] == pytest.approx(exact.history[0]["train_loss"], rel=0.1)
    assert all(value.dtype == torch.float32 for value in rough.weights.values())


def test_the_average_is_what_its_formula_says(small_config, small_films) -> None:
    class Recorder(Unobserved):
        def __init__(self) -> None:
            self.losses: list[float] = []

    plain = fit(small_config("loop.epochs=1", "loop.batch_size=60"), small_films)
    averaged = fit(small_config("loop.epochs=1", "loop.batch_size=60", "loop.ema_decay=0.99"), small_films)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = build(BaselineConfig(), 48).state_dict()
    decay = 2 / 11  # (1 + t) / (10 + t) after the first step
    for name, value in averaged.weights.items():
        torch.testing.assert_close(value, decay * start[name] + (1 - decay) * plain.weights[name])


def test_batch_norm_reads_with_the_statistics_of_the_weights_that_are_kept(small_config, small_films) -> None:
    options = ("loop.epochs=2", "loop.ema_decay=0.9", "augmentation.shift=0.1")
    one = fit(small_config(*FLAGSHIP, *options, "loop.worker_threads=1"), small_films)
    three = fit(small_config(*FLAGSHIP, *options, "loop.worker_threads=3"), small_films)
    assert (one.weights["stem_norm.variance"] - 1).abs().min() > 0.01
    for name, value in one.weights.items():
        torch.testing.assert_close(value, three.weights[name], rtol=2e-3, atol=2e-4)


def test_a_killed_run_with_batch_norm_ends_in_the_same_bytes(
    small_config, small_films, tmp_path: Path
) -> None:
    config = small_config(*FLAGSHIP, "loop.ema_decay=0.9", "model.dropout=0.2", "augmentation.tone=0.5")
    whole = fit(config, small_films)
    with pytest.raises(Terminated):
        fit(config, small_films, folder=tmp_path, observer=Killer(6, signal.SIGTERM))
    resumed = fit(config, small_films, folder=tmp_path)
    again = fit(config, small_films, folder=tmp_path)
    assert same(whole.weights, resumed.weights)
    assert same(whole.weights, again.weights)


def test_a_plain_network_does_not_have_its_films_read_for_calibration(
    small_config, small_films, monkeypatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pneumoscan.train.loop.calibrate", never)
    assert fit(small_config("loop.epochs=1"), small_films).kept_epoch == 1


def test_plateau_lowers_the_rate_after_patience_and_not_below_the_least() -> None:
    optimizer, schedule = (
        OptimizerConfig(),
        ScheduleConfig(name="plateau", factor=0.1, patience=2, min_learning_rate=5e-5),
    )
    plateau, rates = Plateau(), []
    for loss in (1.0, 0.9, 0.95, 0.9, 0.8, 0.81, 0.82, 0.83, 0.84):
        plateau.observe(loss, schedule)
        rates.append(learning_rate(optimizer, schedule, plateau, step=0, total_steps=1))
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 5e-5])


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    scales = [one_cycle(step / 1000, 0.2) for step in range(1000)]
    assert scales[0] == pytest.approx(0.04)
    assert int(np.argmax(scales)) == 200
    assert max(scales) == pytest.approx(1)
    assert scales[-1] < 1e-4
    assert one_cycle(0.0, 0.0) == 1


def test_optimizers_take_the_step_of_their_formula() -> None:
    def step(name: str, steps: int = 2) -> float:
        value = torch.nn.Parameter(torch.tensor(1.0))
        optimizer = make_optimizer(OptimizerConfig(name=name, learning_rate=0.1), [value])
        for _ in range(steps):
            value.grad = torch.tensor(1.0)
            optimizer.step()
        return value.item()

    assert step("sgd") == pytest.approx(1 - 0.1 - 0.1)
    assert step("momentum") == pytest.approx(1 - 0.1 - 0.1 * 1.9)
    assert step("nesterov") == pytest.approx(1 - 0.1 * 1.9 - 0.1 * (1 + 0.9 * 1.9))
    assert step("adam") == pytest.approx(1 - 0.1 - 0.1, abs=1e-5)
    assert step("rmsprop", 1) == pytest.approx(1 - 0.1 / math.sqrt(0.1), abs=1e-5)


def test_adamw_decays_kernels_and_not_biases() -> None:
    kernel, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    config = OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(config, [bias, kernel])
    kernel.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert kernel.flatten().tolist() == pytest.approx([0.95] * 4)
    assert bias.tolist() == [1, 1]


def test_inputs_of_training_are_the_readers_bytes(small_films) -> None:
    from pneumoscan.imaging import preprocess, read
    from pneumoscan.train.config import AugmentationConfig

    rows = np.arange(4)
    fed = small_films.plain(rows).numpy()
    augmented = small_films.augmented(rows, AugmentationConfig(), seed=0, epoch=0).numpy()
    for row in rows:
        expected = preprocess(read(small_films.images[row]), Preprocessing(size=48))
        assert fed[row, 0].tobytes() == expected.tobytes() == augmented[row, 0].tobytes()
