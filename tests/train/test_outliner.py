"""Networks that find and read lungs: what they see of a film, what they learn, and what a run leaves."""

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_lungs
import torch
from PIL import Image

from pneumoscan.adapt.hospital_films import read_films
from pneumoscan.bundle.load import load_bundle
from pneumoscan.card.measuring import deletion, mean_error
from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts import load_sites
from pneumoscan.errors import ConfigError, Terminated, UsageError
from pneumoscan.evaluate import read_split
from pneumoscan.imaging import read
from pneumoscan.imaging.perturbation import PERTURBATIONS
from pneumoscan.imaging.preprocessing import lung_crop, standardise_lungs
from pneumoscan.networks.exported import onnx_of, round_weights
from pneumoscan.networks.layers import BatchNorm
from pneumoscan.networks.registry import build, count_parameters, layer_table
from pneumoscan.train.augment import apply, reshape_masks, sample
from pneumoscan.train.backend import resolve
from pneumoscan.train.config import AugmentationConfig, load_config
from pneumoscan.train.export import export, export_run, record_run, trained_network, write_lungs
from pneumoscan.train.films import FilmLabels, LungMasks, TrainingFilms
from pneumoscan.train.loop import Unobserved
from pneumoscan.train.outliner import LungsNetwork, preparation_of
from pneumoscan.train.run import run_with_films, train

SMALL_READER = (
    "data.size=32", "loop.epochs=2", "loop.batch_size=8", "loop.micro_batch=4", "loop.worker_threads=1",
    "loop.precision=float32", "model.stem=4", "model.channels=[4, 6, 8]", "model.blocks=[1, 1, 1]", "model.pyramid=6",
)  # fmt: skip
SMALL_OUTLINER = (
    "loop.batch_size=8", "loop.micro_batch=8", "loop.worker_threads=1", "loop.precision=float32", "loop.ema_decay=0.0",
    "model.widths=[6, 8, 12, 16, 16]", "schedule.name=constant",
    *(f"augmentation.{name}=0.0" for name in ("rotation", "shift", "zoom", "border", "marker", "tone", "gamma", "haze")),
    "augmentation.crop=1.0",
)  # fmt: skip


@pytest.fixture(scope="module")
def chest_table(tmp_path_factory) -> Path:
    """A table of 40 drawn chests of 40 patients with readings; 16 show nothing but the lungs, half of the ill have a box."""
    folder = tmp_path_factory.mktemp("chests")
    rng = np.random.default_rng(0)
    rows, boxes = [], []
    for number in range(40):
        ill = number % 2 == 1
        x, y = 0.3 + rng.uniform(-0.03, 0.03), 0.5 + rng.uniform(-0.05, 0.05)
        lungs = ((x, y, 0.13, 0.3), (x + 0.4, y, 0.11, 0.28))
        film = tiny_lungs.draw_chest(lungs).astype(float)
        yy, xx = (np.mgrid[:240, :300] + 0.5) / np.reshape((240, 300), (2, 1, 1))
        inside = np.logical_or.reduce(
            [((xx - cx) / a) ** 2 + ((yy - cy) / b) ** 2 < 1 for cx, cy, a, b in lungs]
        )
        if ill:
            film += 60 * np.exp(-(((xx - x) / 0.06) ** 2 + ((yy - y) / 0.08) ** 2))
        if number < 16:
            film = np.where(inside, film, film[inside].mean())
        Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(folder / f"f{number}.png")
        Image.fromarray((inside * 255).astype(np.uint8)).save(folder / f"m{number}.png")
        rows.append(
            (
                f"f{number}.png",
                "OPACITY" if ill else "NORMAL",
                f"p{number}",
                f"m{number}.png",
                f"m{number}.png",
            )
        )
        if ill and number % 4 == 1:
            boxes.append((f"f{number}.png", (x - 0.08) * 300, (y - 0.1) * 240, 48, 48))
    for name, header, lines in (
        ("films.csv", ("path", "reading", "patient_id", "mask", "aerated"), rows),
        ("boxes.csv", ("path", "x", "y", "width", "height"), boxes),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *lines])
    return folder / "films.csv"


@pytest.fixture(scope="module")
def lungs_model(tmp_path_factory) -> Path:
    return tiny_lungs.write_lungs_bundle(tmp_path_factory.mktemp("lungs") / "bundle")


def reader_config(lungs_model: Path, *more: str):
    return resolve(load_config("lung-reader", None, [*SMALL_READER, f'data.lungs="{lungs_model}"', *more]))


@pytest.fixture(scope="module")
def reader_run(tmp_path_factory, chest_table, lungs_model):
    folder = tmp_path_factory.mktemp("reader")
    train(reader_config(lungs_model), chest_table, folder / "run", cache=folder / "cache")
    return folder / "run"


def test_a_reader_sees_in_training_what_it_sees_in_use(tmp_path, chest_table, lungs_model):
    config, manifest = reader_config(lungs_model), load_sites(chest_table)
    cached = open_cache(manifest, size=32, preparation=preparation_of(config, manifest), folder=tmp_path)
    bundle = load_bundle(lungs_model)
    assert cached.images.shape == (40, 3, 32, 32)
    for row, place in enumerate(cached.index):
        record = manifest.films[place]
        film = read(chest_table.parent / record.path)
        number = int(record.path[1:-4])
        if number >= 16:
            lungs = bundle.lungs_of(film)
            np.testing.assert_array_equal(cached.images[row, :2], lung_crop(film, lungs, 32))
            seen = standardise_lungs(cached.images[row, :2])
            np.testing.assert_array_equal(seen[None], bundle.input_of(film)[0])
        else:
            grey, inside = cached.images[row, :2]
            assert not grey[inside == 0].any()
            assert 0.3 < (inside > 127).mean() < 0.75
        covered = cached.images[row, 2] > 127
        if record.boxes and number >= 16:
            rows, columns = np.nonzero(covered)
            left, top, right, bottom = bundle.lungs_of(film).box
            x, y, width, height = record.boxes[0]
            middle = (
                ((x + width / 2) / 300 - left) / (right - left),
                ((y + height / 2) / 240 - top) / (bottom - top),
            )
            assert (columns.mean() + 0.5) / 32 == pytest.approx(middle[0], abs=0.04)
            assert (rows.mean() + 0.5) / 32 == pytest.approx(middle[1], abs=0.04)
        assert covered.any() == bool(record.boxes)


def test_masks_and_boxes_are_part_of_the_key_of_the_cache(tmp_path, chest_table, lungs_model):
    config, manifest = reader_config(lungs_model), load_sites(chest_table)

    def key(changed):
        open_cache(changed, size=32, preparation=preparation_of(config, changed), folder=tmp_path)
        return len(list(tmp_path.glob("*.u8")))

    assert key(manifest) == key(manifest) == 1
    first, *rest = manifest.films
    assert key(replace(manifest, films=(replace(first, boxes=((1.0, 1.0, 9.0, 9.0),)), *rest))) == 2
    assert key(replace(manifest, films=(replace(first, mask=manifest.films[5].mask), *rest))) == 3


def test_films_without_surroundings_give_no_box_channel(chest_table, lungs_model, reader_run):
    _, config, films = run_with_films(reader_run, chest_table, None, reader_run.parent / "cache")
    rows = np.arange(len(films.labels))
    assert films.surroundings is not None
    assert films.surroundings.sum() == 24
    inputs = films.plain(rows).numpy()
    assert not inputs[~films.surroundings, 0].any()
    assert inputs[films.surroundings, 0].any((1, 2)).all()
    everywhere = AugmentationConfig(no_surroundings=1.0)
    assert not films.augmented(rows, everywhere, seed=0, epoch=0)[:, 0].any()
    alone = replace(films, preprocessing=replace(films.preprocessing, surroundings=False))
    assert not alone.plain(rows)[:, 0].any()
    assert not alone.augmented(rows, config.augmentation, seed=0, epoch=0)[:, 0].any()
    assert (alone.plain(rows)[:, 1] == films.plain(rows)[:, 1]).all()
    inputs, targets = FilmLabels(films, config).inputs(rows, 0)
    assert inputs.shape[1:] == (2, 32, 32)
    assert targets.shape == (40, 1 + 16)
    assert (targets[:, 1:] >= 0).all()  # every film was read
    ill = films.labels == 1
    assert targets[ill, 1:].max() > 0.5
    assert not targets[~ill, 1:].any()


def test_films_of_lungs_alone_are_cut_alike_wherever_a_table_is_judged(chest_table, lungs_model, reader_run):
    _, _, films = run_with_films(reader_run, chest_table, None, reader_run.parent / "cache")
    bundle, manifest = load_bundle(lungs_model), load_sites(chest_table)
    inputs = films.plain(np.arange(40)).numpy()
    for seen, record in zip(inputs, manifest.films, strict=True):
        film = manifest.read(record)
        assert (film.lungs is not None) == (int(record.path[1:-4]) < 16)
        np.testing.assert_array_equal(seen[None], bundle.input_of(film)[0])
    flip = next(view for view in PERTURBATIONS if view.name == "flipped")
    split = read_split(bundle, manifest, perturbations=[flip], workers=1)
    outputs = [bundle.run(seen[None]) for seen in inputs]
    np.testing.assert_array_equal(split.y_prob, [float(each.probability[0]) for each in outputs])
    hospital = read_films(bundle, manifest, workers=1)
    np.testing.assert_array_equal(hospital.logits, [float(each.logit[0]) for each in outputs])
    for place in np.flatnonzero(~films.surroundings):
        # Mirrored together with its mask, the film is cut as before.
        assert split.views["flipped"][place] == pytest.approx(split.y_prob[place], abs=0.01)


def test_maps_of_lungs_are_checked_with_both_channels(chest_table, lungs_model):
    bundle, manifest = load_bundle(lungs_model), load_sites(chest_table)
    inputs = [bundle.input_of(manifest.read(record))[0][0] for record in manifest.films]
    batch = np.stack(inputs)
    assert mean_error(bundle, batch) < 1e-5
    # Its logit is twice the mean of both channels, so covering a sixteenth with less lowers it by what was there.
    lowest = batch[30].min((1, 2), keepdims=True)
    hottest, elsewhere = deletion(bundle, batch[30], np.random.default_rng(0), lowest)
    assert hottest > elsewhere > 0
    outputs = bundle.run(batch[30:31])
    row, column = np.unravel_index(outputs.activation_map[0].argmax(), (4, 4))
    square = batch[30][:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    assert hottest == pytest.approx(2.0 * (square - lowest).sum() / (2 * 32 * 32), abs=1e-4)


def test_cells_that_nobody_looked_at_teach_nothing(reader_run, chest_table):
    _, config, films = run_with_films(reader_run, chest_table, None, reader_run.parent / "cache")
    task = FilmLabels(replace(films, known=np.zeros((40, 1), bool)), config)
    rows = np.arange(8)
    _, targets = task.inputs(rows, 0)
    assert (targets[:, 1:] == -1).all()
    outputs = torch.zeros(8, 17)
    other = outputs.clone()
    other[:, 1:] = 3.0
    assert task.loss(outputs, targets) == task.loss(other, targets)


def test_masks_take_part_in_the_geometry_alone():
    rng = np.random.default_rng(1)
    mask = (rng.random((4, 1, 32, 32)) > 0.5).astype(np.float32)
    planes = torch.from_numpy(np.concatenate([mask, mask], 1))
    strong = AugmentationConfig(
        rotation=15, shift=0.1, zoom=0.2, flip=0.5, crop=0.8, gamma=0.5, noise=0.1, haze=0.5
    )
    geometry = AugmentationConfig(rotation=15, shift=0.1, zoom=0.2, flip=0.5, crop=0.8)
    ids = np.arange(4)
    changed = apply(planes, sample(strong, seed=1, epoch=2, film_ids=ids, size=32))
    moved = apply(planes[:, :1], sample(geometry, seed=1, epoch=2, film_ids=ids, size=32))
    torch.testing.assert_close(changed[:, 1:], moved.clamp(0, 1))
    assert not torch.allclose(changed[:, :1], moved, atol=0.05)
    torch.testing.assert_close(planes, torch.from_numpy(np.concatenate([mask, mask], 1)))


def test_the_form_of_a_mask_changes():
    mask = torch.zeros(6, 1, 64, 64)
    mask[:, :, 16:48, 16:48] = 1
    off = sample(AugmentationConfig(), seed=0, epoch=0, film_ids=np.arange(6), size=64)
    assert torch.equal(reshape_masks(mask, off), mask > 0.5)
    config = AugmentationConfig(mask_border=1.0, mask_holes=0.9)
    changed = reshape_masks(mask, sample(config, seed=0, epoch=0, film_ids=np.arange(6), size=64))
    areas = changed.sum((1, 2, 3)).tolist()
    assert len(set(areas)) == 6
    assert all(0 < area < 45 * 45 for area in areas)


def test_the_evidence_of_a_reader_averages_to_its_logit():
    network = build(load_config("lung-reader", None, [*SMALL_READER, "model.mirrored=true"]).model, 32)
    with torch.no_grad():
        network.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        network.gain.fill_(1.7)
        network.bias.fill_(-0.4)
        network.mean_gain.fill_(0.3)
    lungs = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    scores = network.eval().scores(lungs).flatten(1)
    expected = 1.7 * (scores.softmax(1) * scores).sum(1) - 0.4 + 0.3 * scores.mean(1)
    mirrored = network.scores(lungs.flip(3)).flatten(1)
    other = 1.7 * (mirrored.softmax(1) * mirrored).sum(1) - 0.4 + 0.3 * mirrored.mean(1)
    expected = (expected + other) / 2
    torch.testing.assert_close(network(lungs), expected)
    torch.testing.assert_close(network.activation_map(lungs).mean((1, 2)), expected)
    # A line through the vector before the last layer is the logit.
    evidence, features = network.evidence_and_features(lungs)
    torch.testing.assert_close(evidence.mean((1, 2)), expected)
    weight, bias = network.head.weight.flatten(), network.head.bias
    torch.testing.assert_close(1.7 * features @ weight + (1.7 + 0.3) * bias - 0.4, expected)
    assert network.train()(lungs).shape == (3, 17)


@pytest.mark.parametrize(("preset", "size"), [("lung-reader", 160), ("lungs", 128)])
def test_the_layer_tables_count_every_weight(preset, size):
    model = load_config(preset).model
    assert sum(row.parameters for row in layer_table(model, size)) == count_parameters(build(model, size))
    assert count_parameters(build(model, size)) <= 1_500_000


@pytest.mark.parametrize("preset", ["lung-reader", "lungs"])
def test_large_weights_are_stored_in_two_bytes(preset):
    config = load_config(preset)
    network = build(config.model, config.data.size).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, BatchNorm):
                module.mean.normal_(generator=generator)
                module.variance.uniform_(0.5, 2.0, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
    size = config.data.size if preset == "lung-reader" else 128
    example = torch.randn(2, getattr(config.model, "inputs", 1), size, size, generator=generator)
    with torch.no_grad():
        before = network(example)
        round_weights(network)
        after = network(example)
    torch.testing.assert_close(after, before, atol=0.02 * float(before.abs().max() + 1), rtol=0)
    graph = onnx_of(network, example, ("answer",))
    assert len(graph) < 2.3 * count_parameters(network)
    given = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
        None, {"film": example.numpy()}
    )[0]
    np.testing.assert_allclose(given, after.numpy(), atol=1e-3 * float(after.abs().max() + 1))


class StopsAt(Unobserved):
    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_killed_run_ends_with_the_same_weights(tmp_path, chest_table, lungs_model, reader_run):
    config = reader_config(lungs_model)
    with pytest.raises(Terminated):
        train(config, chest_table, tmp_path / "run", observer=StopsAt(6), cache=tmp_path)
    train(None, chest_table, tmp_path / "run", resume=True, cache=tmp_path)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (
        reader_run / "model.safetensors"
    ).read_bytes()


def test_the_bundle_of_a_reader_says_what_torch_says(tmp_path, chest_table, lungs_model, reader_run):
    exported = export_run(reader_run, chest_table, tmp_path / "bundle", cache=reader_run.parent / "cache")
    bundle = load_bundle(exported.bundle)
    assert bundle.spec.preprocessing.input == "lungs"
    assert bundle.spec.lungs is not None
    run, config, _ = run_with_films(reader_run, chest_table, None, reader_run.parent / "cache")
    network = trained_network(run, config)
    whole = build(config.model, 32).eval()
    whole.load_state_dict(run.read_weights())
    for number in (20, 31):
        film = read(chest_table.parent / f"f{number}.png")
        batch, lungs = bundle.input_of(film)
        assert lungs is not None
        with torch.no_grad():
            logit = float(network(torch.from_numpy(batch))[0])
        outputs = bundle.run(batch)
        assert float(outputs.logit[0]) == pytest.approx(logit, abs=1e-4)
        assert float(outputs.activation_map[0].mean()) == pytest.approx(logit, abs=1e-4)
        # Weights of 10 binary digits.
        assert float(outputs.logit[0]) == pytest.approx(
            float(whole(torch.from_numpy(batch))[0].detach()), abs=0.02
        )
        assert outputs.features is None
        [features] = bundle.run(batch, features=True).features
        with torch.no_grad():
            expected = network.evidence_and_features(torch.from_numpy(batch))[1][0].numpy()
        np.testing.assert_allclose(features, expected, atol=1e-4)


def test_a_model_may_see_the_aerated_lung_alone(tmp_path, chest_table, reader_run):
    cache = reader_run.parent / "cache"
    out = export_run(reader_run, chest_table, tmp_path / "bundle", aerated_alone=True, cache=cache).bundle
    bundle = load_bundle(out)
    assert not bundle.spec.preprocessing.surroundings
    batch, lungs = bundle.input_of(read(chest_table.parent / "f31.png"))
    assert lungs is not None
    assert not batch[0, 0].any()
    assert batch[0, 1].any()
    # The records are those of the model as it reads, also when they are written again.
    before = (out / "records.json").read_bytes()
    record_run(reader_run, chest_table, out, cache=cache)
    assert (out / "records.json").read_bytes() == before
    run, config, films = run_with_films(reader_run, chest_table, None, cache)
    never = config.model_copy(update={"augmentation": AugmentationConfig()})
    with pytest.raises(UsageError, match="never saw the aerated lung alone"):
        export(run, never, films, tmp_path / "other", aerated_alone=True)


def test_the_outliner_learns_lungs_and_a_run_leaves_its_network(tmp_path, chest_table):
    config = resolve(
        load_config(
            "lungs",
            None,
            [*SMALL_OUTLINER, "augmentation.zoom=0.4", "loop.epochs=12", "optimizer.learning_rate=1e-2"],
        )
    )
    trained = train(config, f"{chest_table}", tmp_path / "run", cache=tmp_path)
    best = trained.history[-1]
    assert best["val_dice_field"] > 0.85
    assert "val_auc" not in best
    spec = write_lungs(tmp_path / "run", chest_table, cache=tmp_path)
    network = LungsNetwork.at(str(tmp_path / "run"))
    assert network.spec == spec
    # Other hospitals leave more room around the lungs: the limits hold for lungs that are smaller than any held-out ones.
    smallest = min(
        network.find(read(chest_table.parent / f"f{number}.png")).quality.share for number in range(40)
    )
    assert 0 < spec.limits["share"]["not_a_chest_film"] < spec.limits["share"]["unsure"] < smallest
    assert spec.limits["cut"]["not_a_chest_film"] is None
    film = read(chest_table.parent / "f30.png")
    lungs = network.find(film)
    true = np.asarray(Image.open(chest_table.parent / "m30.png").resize((128, 128))) > 127
    assert 2 * (lungs.mask & true).sum() / (lungs.mask.sum() + true.sum()) > 0.8
    with pytest.raises(UsageError, match="classifies nothing"):
        export_run(tmp_path / "run", chest_table, cache=tmp_path)


def test_without_masks_there_is_nothing_to_outline(tmp_path, film_folder):
    config = resolve(load_config("lungs", None, SMALL_OUTLINER))
    with pytest.raises(ConfigError, match="no masks"):
        train(config, film_folder, tmp_path / "run", cache=tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.input=lungs"], "input channel"),
        (["data.input=lungs", "model.inputs=2"], "per_film"),
        (["model.inputs=2"], "input channel"),
        (["data.surroundings=false"], "surroundings"),
    ],
)
def test_network_and_input_must_fit(settings, words):
    with pytest.raises(ConfigError, match=words):
        load_config("baseline", None, settings)


def test_a_place_without_a_lungs_network_is_named(tmp_path, chest_table):
    config = load_config("lung-reader", None, [*SMALL_READER, f'data.lungs="{tmp_path}"'])
    with pytest.raises(ConfigError, match="no lungs network"):
        preparation_of(config, load_sites(chest_table))


def test_a_mask_that_cannot_be_read_refuses_its_film_alone(tmp_path, chest_table, lungs_model):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    manifest = load_sites(chest_table)
    first, *rest = manifest.films
    broken = replace(manifest, films=(replace(first, mask=str(tmp_path / "broken.png")), *rest))
    config = reader_config(lungs_model)
    cached = open_cache(broken, size=32, preparation=preparation_of(config, broken), folder=tmp_path)
    assert [film.code for film in cached.refused] == ["film.damaged"]
    assert len(cached.images) == 39


def test_lungs_learn_masks_that_films_have(chest_table, tmp_path):
    config = resolve(load_config("lungs", None, SMALL_OUTLINER))
    manifest = load_sites(chest_table)
    some = replace(manifest, films=tuple(replace(film, aerated="") for film in manifest.films))
    cached = open_cache(some, size=128, preparation=preparation_of(config, some), folder=tmp_path)
    known = np.tile([True, False], (40, 1))
    rows = np.arange(4)
    films = TrainingFilms(
        cached.images, some.labels.astype(np.float32), rows, rows, config.data.preprocessing(), known=known
    )
    task = LungMasks(films, config)
    _, masks = task.inputs(rows, None)
    assert (masks[:, 1] == -1).all()
    assert set(np.unique((masks[:, 0] * 255).round())) <= set(range(256))
    logits = torch.zeros(4, 2, 128, 128)
    other = logits.clone()
    other[:, 1] = 5.0
    assert task.loss(logits, masks) == task.loss(other, masks)
