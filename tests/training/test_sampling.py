"""An epoch shows sites and classes in the shares that the config names."""

from dataclasses import replace

import numpy as np
import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.training.config import SamplingConfig, load_config, read_toml_config, to_toml
from pneumoscan.training.sampling import epoch_order


@pytest.fixture
def two_sites(small_films):
    """Sixty training films: 45 of site a, 15 of site b, one in two of each with pneumonia."""
    return replace(
        small_films, sites=np.where(np.arange(90) % 4 == 3, "b", "a"), labels=np.arange(90) % 8 % 3 % 2
    )


def test_without_shares_every_film_is_shown_once(two_sites):
    order = epoch_order(two_sites, SamplingConfig(), seed=1, epoch=2)
    assert sorted(order) == list(two_sites.train)
    assert not np.array_equal(order, epoch_order(two_sites, SamplingConfig(), seed=1, epoch=3))
    assert np.array_equal(order, epoch_order(two_sites, SamplingConfig(), seed=1, epoch=2))


def test_sites_and_classes_have_their_shares(two_sites):
    sampling = SamplingConfig(sites=("a=1", "b=2"), balanced_classes=True)
    order = epoch_order(two_sites, sampling, seed=0, epoch=0)
    assert len(order) == 60
    assert (two_sites.sites[order] == "b").sum() == 40
    for site, count in (("a", 10), ("b", 20)):
        labels = two_sites.labels[order[two_sites.sites[order] == site]]
        assert [(labels == label).sum() for label in (0, 1)] == [count, count]
    # Nothing is shown a second time before all of its group were shown.
    shown = np.bincount(order, minlength=90)[two_sites.train]
    group = [f"{two_sites.sites[row]}{two_sites.labels[row]}" for row in two_sites.train]
    assert all(np.ptp(shown[[g == name for g in group]]) <= 1 for name in set(group))


def test_a_site_that_is_not_there_is_told(two_sites, small_films):
    with pytest.raises(ConfigError, match="a, c"):
        epoch_order(two_sites, SamplingConfig(sites=("a=1", "c=1")), seed=0, epoch=0)
    with pytest.raises(ConfigError, match="not told"):
        epoch_order(small_films, SamplingConfig(sites=("a=1",)), seed=0, epoch=0)


@pytest.mark.parametrize("sites", ['["a"]', '["a=0"]', '["a=1", "a=2"]', '["a=-1"]'])
def test_illegal_shares_are_refused(sites):
    with pytest.raises(ConfigError, match=r"sampling\.sites"):
        load_config("baseline", None, [f"sampling.sites={sites}"])


def test_shares_are_saved_with_the_run(tmp_path):
    config = load_config(
        "baseline", None, ['sampling.sites=["a=0.5", "b=1"]', "sampling.balanced_classes=true"]
    )
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert read_toml_config(tmp_path / "config.toml") == config
    assert config.sampling.shares() == {"a": 0.5, "b": 1.0}
