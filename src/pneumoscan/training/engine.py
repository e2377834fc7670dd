"""The training loop."""

import gc
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from pneumoscan.errors import ConfigError, TrainingDivergedError
from pneumoscan.models.layers import calibrate, has_batch_norm
from pneumoscan.models.registry import build_for_training
from pneumoscan.system import keep_freed_memory, usable_cores
from pneumoscan.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pneumoscan.training.config import TrainingConfig
from pneumoscan.training.distributed import Peers
from pneumoscan.training.films import Indices, TrainingFilms, micro_batches
from pneumoscan.training.interrupts import Caught, interrupts
from pneumoscan.training.observer import Observer, Silence
from pneumoscan.training.optimizers import learning_rate, make_optimizer
from pneumoscan.training.sampling import epoch_order, restricted
from pneumoscan.training.state import (
    EpochRecord,
    LoopState,
    WeightAverage,
    copy_weights,
    optimizer_tensors,
    restore_optimizer,
)
from pneumoscan.training.worker_threads import WorkerThreads, has_fast_bfloat16

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


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration with every `auto` and 0 replaced by its value on this machine.

    Raises:
        ConfigError: The device is `mps`, which this torch does not have.
    """
    loop = config.loop
    device = loop.device if loop.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "this torch has no device mps.",
            "Use loop.device cpu or auto; mps needs a Mac with Apple silicon.",
        )
    precision = loop.precision
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(torch.device(device)) else "float32"
    threads = 1 if device != "cpu" else loop.worker_threads or usable_cores()
    resolved = loop.model_copy(update={"device": device, "precision": precision, "worker_threads": threads})
    return config.model_copy(update={"loop": resolved})


def fit(
    config: TrainingConfig,
    films: TrainingFilms,
    *,
    folder: Path | None = None,
    peers: Peers | None = None,
    observer: Observer | None = None,
) -> Fit:
    """Train a network.

    Args:
        config: A result of `resolve`.
        films: Films and hold-out.
        folder: Folder of the checkpoints; training resumes from the newest complete one. None: no checkpoints.
        peers: The processes of the run.
        observer: Receives the progress.

    Raises:
        TrainingDivergedError: The loss is no longer a finite number.
        CheckpointError: All checkpoints are damaged.
        ConfigError: `sampling.films` does not fit the films; see `sampling.restricted`.
        KeyboardInterrupt, Terminated: SIGINT or SIGTERM arrived; a checkpoint was written after the current step.
    """
    keep_freed_memory()
    films = restricted(films, config.sampling, seed=config.loop.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        network = build_for_training(config.model, config.data.size)
    network.to(torch.device(config.loop.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    with (
        _without_collection_of_old_objects(),
        WorkerThreads(network, count=config.loop.worker_threads, precision=config.loop.precision) as threads,
        interrupts() as caught,
    ):
        loop = _Loop(config, films, threads, folder, peers or Peers(), observer or Silence(), caught)
        loop.restore()
        while not loop.state.finished:
            loop.train_epoch()
            loop.close_epoch()
        return loop.result()


@contextmanager
def _without_collection_of_old_objects() -> Iterator[None]:
    """Let the garbage collector ignore what exists already: it stops all threads while it searches the imported modules."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Loop:
    """The state of the training loop."""

    def __init__(
        self,
        config: TrainingConfig,
        films: TrainingFilms,
        threads: WorkerThreads,
        folder: Path | None,
        peers: Peers,
        observer: Observer,
        caught: Caught,
    ) -> None:
        self.config, self.films, self.threads, self.folder = config, films, threads, folder
        self.peers, self.observer, self.caught = peers, observer, caught
        self.network = threads.network
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(config.optimizer, self.trained)
        decay = config.loop.ema_decay
        self.average = WeightAverage(self.network, decay) if decay else None
        self.best: dict[str, torch.Tensor] = {}
        self.state = LoopState()
        self.steps_per_epoch = math.ceil(len(films.train) / config.loop.batch_size)
        self.weights = (
            films.class_weights() if config.loss.class_weights == "balanced" else np.ones(2, np.float32)
        )
        self.last_checkpoint = time.monotonic()

    def train_epoch(self) -> None:
        """Do the remaining steps of the current epoch."""
        loop, state = self.config.loop, self.state
        order = epoch_order(self.films, self.config.sampling, seed=loop.seed, epoch=state.epoch)
        batches = micro_batches(order, loop.batch_size)
        seen = sum(len(rows) for rows in batches[: state.step_in_epoch])
        for rows in batches[state.step_in_epoch :]:
            started = time.perf_counter()
            stop = self._step(rows)
            state.seconds += time.perf_counter() - started
            seen += len(rows)
            self.observer.step(
                state.epoch + 1,
                state.step_in_epoch,
                len(batches),
                state.loss_sum / seen,
                seen / state.seconds,
            )
            if stop or time.monotonic() - self.last_checkpoint > loop.checkpoint_seconds:
                self._checkpoint()
            if stop:
                self.caught.throw()

    def close_epoch(self) -> None:
        """Validate, add a line to the history, update the schedule, and decide whether to continue."""
        state, loop = self.state, self.config.loop
        with self._reading():
            record, weights = self._record(), copy_weights(self.network)
        state.history.append(record)
        state.plateau.observe(record["val_loss"], self.config.schedule)
        state.epoch, state.step_in_epoch = state.epoch + 1, 0
        state.loss_sum, state.correct, state.seconds = 0.0, 0, 0.0
        if record["val_loss"] < state.best_loss:
            state.best_loss, state.best_epoch = record["val_loss"], state.epoch
            self.best = weights if loop.restore_best else {}
        patience = loop.early_stopping
        state.finished = state.epoch >= loop.epochs or 0 < patience <= state.epoch - state.best_epoch
        self._checkpoint()
        self.observer.epoch(record, state.history)

    def result(self) -> Fit:
        """Return the weights to keep: those of the best epoch, or the last ones; averaged if the run averages."""
        state, weights = self.state, self.best or self._last_weights()
        kept = state.best_epoch if self.best else state.epoch
        return Fit(weights, state.history, kept, state.epoch < self.config.loop.epochs)

    def restore(self) -> None:
        """Resume from the newest complete checkpoint, if there is one; every process uses that of rank 0."""
        checkpoint = self._shared_checkpoint()
        if checkpoint is None:
            return
        groups: dict[str, dict[str, torch.Tensor]] = {
            "network": {},
            "average": {},
            "best": {},
            "optimizer": {},
        }
        for name, tensor in checkpoint.tensors.items():
            group, key = name.split("/", 1)
            groups[group][key] = tensor
        self._load_weights(groups["network"])
        self.best = groups["best"]
        if self.average:
            self.average.values = {k: v.to(self.threads.device) for k, v in groups["average"].items()}
        restore_optimizer(self.optimizer, groups["optimizer"])
        self.state = LoopState.from_json(checkpoint.state)
        self.observer.note(f"resuming after epoch {self.state.epoch}, step {self.state.step_in_epoch}")

    def _step(self, rows: Indices) -> bool:
        """Train on one batch; return whether the run should stop."""
        state, config, peers = self.state, self.config, self.peers
        total = config.loop.epochs * self.steps_per_epoch
        rate = learning_rate(
            config.optimizer, config.schedule, state.plateau, step=state.step, total_steps=total
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pieces = list(enumerate(micro_batches(rows, config.loop.micro_batch)))[peers.rank :: peers.size]
        seeded = [(self._dropout_seed(k), piece) for k, piece in pieces]
        logits = self.threads.gradients(seeded, lambda piece, net: self._loss(piece, net, len(rows)))
        loss, correct = self._plain_loss([piece for _, piece in pieces], logits)
        facts = torch.tensor(
            [loss, correct, float(self.caught.number is not None)], device=self.threads.device
        )
        peers.sum_([*self._gradients(), facts])
        loss, correct, stop = facts.tolist()
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss is {loss} at step {state.step + 1} (epoch {state.epoch + 1}).",
                "Lower optimizer.learning_rate; the last checkpoint is from before.",
            )
        self.optimizer.step()
        state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
        state.loss_sum, state.correct = state.loss_sum + loss, state.correct + round(correct)
        if self.average:
            self.average.update(self.network, state.step)
        return bool(stop > 0)

    def _loss(self, rows: Indices, network: nn.Module, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the share of a micro-batch in the mean loss of the batch, and its logits."""
        config = self.config
        logits = network(self._augmented(rows, epoch=self.state.epoch)).float()
        labels = torch.from_numpy(self.films.labels[rows])
        weights = torch.from_numpy(self.weights)[labels.long()].to(logits.device)
        smooth = config.loss.label_smoothing
        targets = (labels * (1 - smooth) + smooth / 2).to(logits.device)
        summed = F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="sum")
        return summed / batch, logits

    def _plain_loss(self, pieces: list[Indices], logits: list[torch.Tensor]) -> tuple[float, int]:
        """Return the summed cross-entropy (without weights and smoothing) and the correct predictions at 0.5."""
        if not pieces:
            return 0.0, 0
        labels = torch.from_numpy(self.films.labels[np.concatenate(pieces)])
        every = torch.cat(logits)
        loss = F.binary_cross_entropy_with_logits(every, labels, reduction="sum")
        return float(loss), int(((every > 0) == (labels > 0.5)).sum())

    def _gradients(self) -> list[torch.Tensor]:
        gradients = []
        for parameter in self.trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        return gradients

    def _dropout_seed(self, piece: int) -> int:
        loop = self.config.loop
        return int(
            np.random.SeedSequence([loop.seed, self.state.step, piece]).generate_state(1, np.uint64)[0] >> 2
        )

    def _record(self) -> EpochRecord:
        state, count = self.state, len(self.films.train)
        labels = self.films.labels[self.films.val]
        logits = self._val_logits()
        if not np.isfinite(logits).all():
            # The last step of an epoch can give invalid weights although the loss was finite.
            raise TrainingDivergedError(
                f"the outputs for held-out films are not finite after epoch {state.epoch + 1}.",
                "Lower optimizer.learning_rate; the last checkpoint is from before.",
            )
        loss = float(F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(labels)))
        return EpochRecord(
            epoch=state.epoch + 1,
            train_loss=state.loss_sum / count,
            train_accuracy=state.correct / count,
            val_loss=loss,
            val_accuracy=float(((logits > 0) == (labels > 0.5)).mean()),
            val_auc=_auc(labels, logits),
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            seconds=round(state.seconds, 3),
            films_per_second=round(count / max(state.seconds, 1e-9), 1),
        )

    def _val_logits(self) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """Return the logits of the held-out films, float32 (n,)."""
        pieces = micro_batches(self.films.val, VALIDATION_BATCH)
        mine = pieces[self.peers.rank :: self.peers.size]
        logits = self.threads.logits(mine, self.films.plain)
        every = [torch.zeros(len(piece)) for piece in pieces]
        every[self.peers.rank :: self.peers.size] = logits
        self.peers.sum_(every)
        return torch.cat(every).numpy()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Use the weights that would be kept: averaged ones, with statistics measured for them."""
        own = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if self.average is not None:
            self._load_weights(self.average.values)
        if has_batch_norm(self.network):
            self._calibrate()
        try:
            yield
        finally:
            self._load_weights(own)

    def _calibrate(self) -> None:
        """Measure the statistics on the same augmented films every time, in every process."""
        rows = epoch_order(self.films, self.config.sampling, seed=self.config.loop.seed, epoch=0)[
            :CALIBRATION_FILMS
        ]
        pieces = micro_batches(rows, self.config.loop.micro_batch or self.config.loop.batch_size)
        inputs = (self._augmented(piece, epoch=self.config.loop.epochs) for piece in pieces)
        with self.threads.computing():
            calibrate(self.network, inputs)

    def _augmented(self, rows: Indices, *, epoch: int) -> torch.Tensor:
        inputs = self.films.augmented(rows, self.config.augmentation, seed=self.config.loop.seed, epoch=epoch)
        return self.threads.to_device(inputs)

    def _load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        # In place, because the worker threads share this memory.
        self.network.load_state_dict(weights)

    def _last_weights(self) -> dict[str, torch.Tensor]:
        with self._reading():
            return copy_weights(self.network)

    def _checkpoint(self) -> None:
        self.last_checkpoint = time.monotonic()
        if self.folder is None or not self.peers.first:
            return
        groups = {
            "network": copy_weights(self.network),
            "average": self.average.values if self.average else {},
            "best": self.best,
            "optimizer": optimizer_tensors(self.optimizer),
        }
        tensors = {
            f"{group}/{name}": value.cpu()
            for group, entries in groups.items()
            for name, value in entries.items()
        }
        write_checkpoint(self.folder, Checkpoint(tensors, self.state.to_json()), step=self.state.step)

    def _shared_checkpoint(self) -> Checkpoint | None:
        found = self._newest_checkpoint() if self.peers.first else None
        if self.peers.size == 1:
            return found
        tensors = self.peers.broadcast_bytes(save(found.tensors) if found else b"")
        state = self.peers.broadcast_bytes(json.dumps(found.state).encode() if found else b"")
        return Checkpoint(load(tensors), json.loads(state)) if state else None

    def _newest_checkpoint(self) -> Checkpoint | None:
        if self.folder is None:
            return None
        found, complaints = read_checkpoint(self.folder)
        for complaint in complaints:
            self.observer.note(complaint)
        return found


def _auc(
    labels: np.ndarray[tuple[int], np.dtype[np.float32]], logits: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, logits))
