"""The training loop: `fit`, from random weights to the weights to keep."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import nn

from pneumoscan.errors import TrainingDivergedError
from pneumoscan.networks.layers import calibrate, has_batch_norm
from pneumoscan.networks.registry import build_for_training
from pneumoscan.system import keep_freed_memory
from pneumoscan.train.backend import Backend, Peers, interrupts
from pneumoscan.train.checkpoint import (
    EpochRecord,
    TrainingState,
    WeightAverage,
    copy_weights,
    learning_rate,
    make_optimizer,
)
from pneumoscan.train.config import TrainingConfig
from pneumoscan.train.films import (
    FilmLabels,
    Indices,
    LungMasks,
    TrainingFilms,
    epoch_order,
    micro_batches,
    restricted,
    task_of,
)

VALIDATION_BATCH = 16
# Number of films on which the statistics of batch normalisation are measured before every validation.
CALIBRATION_FILMS = 256


@dataclass(frozen=True)
class Fit:
    """The result of a finished run: the weights to keep, by name, and the history."""

    weights: dict[str, torch.Tensor]
    history: list[EpochRecord]
    kept_epoch: int
    stopped_early: bool


class Observer(Protocol):
    """Receives the progress of a run."""

    def step(self, epoch: int, step: int, steps: int, loss: float, films_per_second: float) -> None:
        """Called after a step; `loss` is the mean over the epoch so far."""

    def epoch(self, record: EpochRecord, history: list[EpochRecord]) -> None:
        """Called after an epoch."""

    def note(self, text: str) -> None:
        """Called with a message."""


class Unobserved:
    """An observer that does nothing."""

    def step(self, *_: object, **__: object) -> None:
        """Do nothing."""

    epoch = note = step


def fit(  # noqa: C901, PLR0912, PLR0915 - one recipe, read from top to bottom
    config: TrainingConfig,
    films: TrainingFilms,
    *,
    folder: Path | None = None,
    peers: Peers | None = None,
    observer: Observer | None = None,
) -> Fit:
    """Train a network.

    Args:
        config: A result of `backend.resolve`.
        films: Films and hold-out.
        folder: Folder of the checkpoints; training resumes from the newest complete one. None: no checkpoints.
        peers: The processes of the run.
        observer: Receives the progress.

    Raises:
        TrainingDivergedError: The loss is no longer a finite number.
        CheckpointError: All checkpoints are damaged.
        ConfigError: `sampling.films` does not fit the films; see `films.restricted`.
        KeyboardInterrupt, Terminated: SIGINT or SIGTERM arrived; a checkpoint was written after the current step.
    """
    keep_freed_memory()
    loop, observer = config.loop, observer or Unobserved()
    films = restricted(films, config.sampling, seed=loop.seed)
    task = task_of(films, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(loop.seed)
        network = build_for_training(config.model, config.data.size)
    network.to(torch.device(loop.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(config.optimizer, [p for p in network.parameters() if p.requires_grad])
    average = WeightAverage(network, loop.ema_decay) if loop.ema_decay else None
    training = TrainingState(network, optimizer, average)
    total_steps = loop.epochs * math.ceil(len(films.train) / loop.batch_size)
    with (
        Backend(network, threads=loop.worker_threads, precision=loop.precision, peers=peers) as backend,
        interrupts() as caught,
    ):
        for note in training.restore(folder, backend.peers):
            observer.note(note)
        state, last_checkpoint = training.loop, time.monotonic()
        while not state.finished:
            batches = micro_batches(
                epoch_order(films, config.sampling, seed=loop.seed, epoch=state.epoch), loop.batch_size
            )
            seen = sum(len(rows) for rows in batches[: state.step_in_epoch])
            for rows in batches[state.step_in_epoch :]:
                started = time.perf_counter()

                # Called in a worker thread for each micro-batch; the gradients add up to those of the batch.
                def learn(
                    piece: Indices, replica: nn.Module, batch: int = len(rows)
                ) -> tuple[torch.Tensor, torch.Tensor]:
                    inputs, targets = task.inputs(piece, state.epoch)
                    with backend.precision():
                        outputs = replica(backend.to_device(inputs)).float()
                        loss = task.loss(outputs, targets) / batch
                    loss.backward()  # type: ignore[no-untyped-call]
                    return outputs.detach().cpu(), targets

                pieces = micro_batches(rows, loop.micro_batch)
                results = backend.each_piece(pieces, learn, seed=(loop.seed, state.step))
                loss, correct = 0.0, 0
                if results:
                    outputs, targets = map(torch.cat, zip(*results, strict=True))
                    loss, correct = task.progress(outputs, targets)
                interrupted = float(caught.number is not None)
                loss, hits, stop = backend.sum_over_ranks([loss, float(correct), interrupted])
                if not math.isfinite(loss):
                    raise _diverged(f"the loss is {loss} at step {state.step + 1} (epoch {state.epoch + 1}).")
                rate = learning_rate(
                    config.optimizer, config.schedule, state.plateau, step=state.step, total_steps=total_steps
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
                if average is not None:
                    average.update(network, state.step)

                state.loss_sum, state.correct = state.loss_sum + loss, state.correct + round(hits)
                state.seconds += time.perf_counter() - started
                seen += len(rows)
                observer.step(
                    state.epoch + 1,
                    state.step_in_epoch,
                    len(batches),
                    state.loss_sum / seen,
                    seen / state.seconds,
                )
                if stop or time.monotonic() - last_checkpoint > loop.checkpoint_seconds:
                    last_checkpoint = time.monotonic()
                    if folder is not None and backend.peers.first:
                        training.save(folder)
                if stop:
                    caught.throw()

            with _weights_to_keep(training, backend, task, config):
                record, weights = _validated(training, backend, task), copy_weights(network)
            state.history.append(record)
            state.plateau.observe(record["val_loss"], config.schedule)
            state.epoch, state.step_in_epoch = state.epoch + 1, 0
            state.loss_sum, state.correct, state.seconds = 0.0, 0, 0.0
            if record["val_loss"] < state.best_loss:
                state.best_loss, state.best_epoch = record["val_loss"], state.epoch
                training.best = weights if loop.restore_best else {}
            stale = state.epoch - state.best_epoch
            state.finished = state.epoch >= loop.epochs or 0 < loop.early_stopping <= stale
            last_checkpoint = time.monotonic()
            if folder is not None and backend.peers.first:
                training.save(folder)
            observer.epoch(record, state.history)

        kept, stopped_early = training.best, state.epoch < loop.epochs
        if kept:
            return Fit(kept, state.history, state.best_epoch, stopped_early)
        with _weights_to_keep(training, backend, task, config):
            return Fit(copy_weights(network), state.history, state.epoch, stopped_early)


@contextmanager
def _weights_to_keep(
    training: TrainingState, backend: Backend, task: FilmLabels | LungMasks, config: TrainingConfig
) -> Iterator[None]:
    """Use the weights that would be kept: averaged ones, with the statistics of batch normalisation measured for them.

    The statistics are measured on the same augmented films every time, in every process.
    """
    network, loop = training.network, config.loop
    own = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if training.average is not None:
        network.load_state_dict(training.average.values)
    if has_batch_norm(network):
        order = epoch_order(task.films, config.sampling, seed=loop.seed, epoch=0)
        pieces = micro_batches(order[:CALIBRATION_FILMS], loop.micro_batch or loop.batch_size)
        inputs = (backend.to_device(task.inputs(piece, loop.epochs)[0]) for piece in pieces)
        with backend.precision():
            calibrate(network, inputs)
    try:
        yield
    finally:
        network.load_state_dict(own)


def _validated(training: TrainingState, backend: Backend, task: FilmLabels | LungMasks) -> EpochRecord:
    """Return the line of the history of the current epoch."""
    state, films = training.loop, task.films
    pieces = micro_batches(films.val, VALIDATION_BATCH)
    outputs = torch.cat(backend.outputs(pieces, lambda rows: task.inputs(rows, None)[0]))
    if not bool(outputs.isfinite().all()):
        # The last step of an epoch can give invalid weights although the loss was finite.
        raise _diverged(f"the outputs for held-out films are not finite after epoch {state.epoch + 1}.")
    record = {
        "epoch": state.epoch + 1,
        "train_loss": state.loss_sum / len(films.train),
        "train_accuracy": state.correct / len(films.train),
        **task.record(outputs, films.val),
        "learning_rate": float(training.optimizer.param_groups[0]["lr"]),
        "seconds": round(state.seconds, 3),
        "films_per_second": round(len(films.train) / max(state.seconds, 1e-9), 1),
    }
    return cast(EpochRecord, record)


def _diverged(problem: str) -> TrainingDivergedError:
    return TrainingDivergedError(
        problem, "Lower optimizer.learning_rate; the last checkpoint is from before."
    )
