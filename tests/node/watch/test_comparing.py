"""The tests beside SciPy's, and beside numbers worked out by hand."""

import numpy as np
import pytest

from pneumoscan.node.watch.drift import fisher, holm, kolmogorov_smirnov

stats = pytest.importorskip("scipy.stats", reason="SciPy comes with the extra `train`")


@pytest.mark.parametrize("seed", range(12))
def test_kolmogorov_smirnov_is_close_to_the_exact_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.beta(1, 2, rng.integers(20, 300)), rng.beta(1, 2 + seed / 8, rng.integers(40, 900))
    found, exact = kolmogorov_smirnov(one, other), stats.ks_2samp(one, other, method="exact")
    assert found.distance == pytest.approx(exact.statistic, abs=1e-12)
    assert found.p == pytest.approx(exact.pvalue, rel=0.25, abs=0.01)


def test_kolmogorov_smirnov_at_the_edges() -> None:
    assert kolmogorov_smirnov([1.0], [1.0]) == (0.0, 1.0)
    apart = kolmogorov_smirnov(np.zeros(50), np.ones(50))
    assert apart.distance == 1
    assert 0 <= apart.p < 1e-12


@pytest.mark.parametrize("seed", range(30))
def test_fisher_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of, other_of = int(rng.integers(1, 400)), int(rng.integers(1, 2000))
    count, other_count = int(rng.binomial(of, 0.05 + seed / 60)), int(rng.binomial(other_of, 0.1))
    table = [[count, of - count], [other_count, other_of - other_count]]
    assert fisher(count, of, other_count, other_of) == pytest.approx(
        stats.fisher_exact(table).pvalue, rel=1e-6
    )


def test_fisher_of_the_lady_tasting_tea() -> None:
    assert fisher(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert fisher(4, 4, 0, 4) == pytest.approx(2 / 70)
    assert fisher(0, 50, 0, 50) == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
