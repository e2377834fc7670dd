import tomllib
from pathlib import Path

import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.train.config import legal_keys, load_config, preset_names, read_toml_config, to_toml, validate


def test_presets_are_what_they_are_called() -> None:
    plain, mild = load_config("baseline-plain"), load_config("baseline-quick")
    for config in (plain, mild):
        assert config.model.channels == (32, 32, 32, 32)
        assert (config.optimizer.name, config.optimizer.learning_rate) == ("adam", 1e-3)
        assert (config.loop.batch_size, config.loop.epochs, config.schedule.name) == (32, 12, "plateau")
        assert config.data.size == 200
    assert plain.augmentation == type(plain.augmentation)()
    assert mild.augmentation != plain.augmentation


def test_the_baseline_is_the_network_of_the_study_with_the_augmentation_of_the_flagship() -> None:
    baseline, quick, flagship = map(load_config, ("baseline", "baseline-quick", "flagship"))
    assert baseline.model == quick.model
    assert baseline.augmentation == flagship.augmentation == load_config("transfer").augmentation
    assert baseline.loop.epochs == 60


@pytest.mark.parametrize("name", preset_names())
def test_a_config_survives_toml(name: str, tmp_path: Path) -> None:
    config = load_config(name, None, ["optimizer.weight_decay=0.25", "loop.seed=7", "optimizer.name=sgd"])
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert read_toml_config(path) == config
    assert config.optimizer.weight_decay == 0.25


def test_later_sources_lie_over_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[loop]\nepochs = 5\nseed = 3\n[augmentation]\nrotation = 4.0\n")
    config = load_config("baseline", path, ["loop.epochs=6"])
    assert (config.loop.epochs, config.loop.seed, config.augmentation.rotation) == (6, 3, 4.0)
    assert config.augmentation.flip == load_config("baseline").augmentation.flip


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("loop.epoch=3", "'loop.epochs'"),
        ("optimiser.learning_rate=3", "'optimizer.learning_rate'"),
        ("learning_rate=3", "'optimizer.learning_rate'"),
        ("model.chanels=[1]", "'model.channels'"),
        ("loop.epochs=0", "greater than or equal to 1"),
        ("loop.epochs=many", "valid integer"),
        ("optimizer.name=adam2", "'rmsprop'"),
        ("optimizer.learning_rate=nan", "finite"),
        ("loop.epochs", "key=value"),
        ("data=3", "no setting 'data'"),
    ],
)
def test_wrong_settings_name_the_right_ones(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("baseline", None, [assignment])
    assert message in str(caught.value)


def test_unknown_presets_files_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Known: baseline, baseline-plain"):
        load_config("basline")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config("baseline", tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[loop\n")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config("baseline", broken)
    with pytest.raises(ConfigError, match=r"no setting 'loop.epoch'\. Did you mean 'loop.epochs'"):
        validate({"loop": {"epoch": 3}})


def test_every_setting_can_be_named() -> None:
    keys = legal_keys()
    assert {"loop.epochs", "model.channels", "augmentation.rotation", "data.size", "preset"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_runs_on_record_are_read() -> None:
    saved = Path(__file__).parents[2] / "results/baseline/seed-0/config.toml"
    config = read_toml_config(saved)
    assert validate(tomllib.loads(to_toml(config))) == config
