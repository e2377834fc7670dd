"""An epoch shows sites and classes in the shares that the config names."""

from dataclasses import replace

import numpy as np
import pytest

from pneumoscan.errors import ConfigError
from pneumoscan.train.config import SamplingConfig, load_config, read_toml_config, to_toml
from pneumoscan.train.films import epoch_order, restricted


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
    sampling = SamplingConfig(sites={"a": 1, "b": 2}, balanced_classes=True)
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
        epoch_order(two_sites, SamplingConfig(sites={"a": 1, "c": 1}), seed=0, epoch=0)
    with pytest.raises(ConfigError, match="of an unknown site"):
        epoch_order(small_films, SamplingConfig(sites={"a": 1}), seed=0, epoch=0)


@pytest.mark.parametrize("sites", ['["a=1"]', "{a=0}", "{a=-1}", "{'a b'=1}", "{a='x'}"])
def test_illegal_shares_are_refused(sites):
    with pytest.raises(ConfigError, match=r"sampling\.sites"):
        load_config("baseline", None, [f"sampling.sites={sites}"])


def test_shares_are_saved_with_the_run(tmp_path):
    config = load_config("baseline", None, ["sampling.sites={a=0.5, b=1}", "sampling.balanced_classes=true"])
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert read_toml_config(tmp_path / "config.toml") == config
    assert config.sampling.sites == {"a": 0.5, "b": 1.0}


def test_few_films_of_a_site_are_those_of_more(two_sites):
    few, more = (restricted(two_sites, SamplingConfig(films={"a": count}), seed=3) for count in (10, 20))
    own = {count: found.train[found.sites[found.train] == "a"] for count, found in ((10, few), (20, more))}
    assert {count: len(rows) for count, rows in own.items()} == {10: 10, 20: 20}
    assert set(own[10]) <= set(own[20])
    # Another site keeps all its films, and the hold-out stays.
    assert (few.sites[few.train] == "b").sum() == (two_sites.sites[two_sites.train] == "b").sum()
    assert np.array_equal(few.val, two_sites.val)
    labels = two_sites.labels[two_sites.train[two_sites.sites[two_sites.train] == "a"]]
    assert abs(few.labels[own[10]].mean() - labels.mean()) <= 0.05
    other = restricted(two_sites, SamplingConfig(films={"a": 10}), seed=4)
    assert not np.array_equal(other.train, few.train)


def test_a_site_of_no_films_is_in_neither_part(two_sites):
    found = restricted(two_sites, SamplingConfig(films={"b": 0}), seed=0)
    assert set(found.sites[found.train]) == set(found.sites[found.val]) == {"a"}
    assert restricted(two_sites, SamplingConfig(), seed=0) is two_sites


def test_limits_that_cannot_be_are_told(two_sites):
    with pytest.raises(ConfigError, match="c, which has no training films"):
        restricted(two_sites, SamplingConfig(films={"c": 5}), seed=0)
    with pytest.raises(ConfigError, match="fewer than two classes"):
        restricted(two_sites, SamplingConfig(films={"a": 0, "b": 0}), seed=0)


@pytest.mark.parametrize("films", ['["a=1"]', "{a=0.5}", "{a=-1}", "{'a b'=1}"])
def test_illegal_limits_are_refused(films):
    with pytest.raises(ConfigError, match=r"sampling\.films"):
        load_config("baseline", None, [f"sampling.films={films}"])
