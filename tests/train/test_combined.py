"""Networks that are combined answer as their mean, and heads answer for films of their sites alone."""

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from pneumoscan.imaging import Preprocessing
from pneumoscan.networks.combined import Combined, Member, fold_norms, round_to_half
from pneumoscan.networks.exported import onnx_graph, widened
from pneumoscan.networks.registry import build, config_of, count_parameters
from pneumoscan.networks.site_heads import Head, Linear, Quadratic, SiteHeads, fit_linear, fit_ratio, means

WIDTHS = (24, 40, 80, 112, 192, 320)
FIRST, SECOND = Preprocessing(size=64, mean=0.48, std=0.24), Preprocessing(size=64, mean=0.5, std=0.5)


def _network(name: str) -> torch.nn.Module:
    options = {"weights": "random"} if name == "transfer" else {"mirrored": False}
    network = build(config_of(name, **options), 64).eval()
    with torch.no_grad():
        for layer in network.modules():
            if hasattr(layer, "variance"):
                layer.variance.uniform_(0.5, 2)
                layer.mean.normal_(0, 0.1)
        network.head.weight.normal_(0, 0.1)
    return network


@pytest.fixture
def members() -> list[Member]:
    torch.manual_seed(0)
    return [Member(_network("flagship"), FIRST, 2.0), Member(_network("transfer"), SECOND, 0.5)]


@pytest.fixture
def films() -> torch.Tensor:
    return torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def _heads(score: float, home_score: float | None = None, general: float = 0.0) -> SiteHeads:
    rng = np.random.default_rng(0)
    answer = Linear(rng.normal(size=768) * 0.01, 0.3)
    member = Quadratic(np.zeros((64, 3)), np.zeros(3), np.zeros((3, 3)), np.zeros(3), score)
    home = Linear(np.zeros(768), -score if home_score is None else home_score)
    return SiteHeads(home, [Head("b", member, answer, general)], WIDTHS)


def test_the_answer_is_the_mean_of_the_members_each_with_films_as_it_wants_them(members, films):
    combined = Combined(members)((films - FIRST.mean) / FIRST.std)
    expected = sum(
        member.network((films - member.preprocessing.mean) / member.preprocessing.std) / member.temperature
        for member in members
    )
    assert torch.allclose(combined, expected / 2, atol=1e-4)


def test_folded_norms_and_halved_weights_leave_the_answer_alone(members, films):
    for member in members:
        before = member.network(films)
        fold_norms(member.network)
        assert torch.allclose(member.network(films), before, rtol=1e-3, atol=1e-3)
        assert all(
            bool((norm.weight == 1).all()) for norm in member.network.modules() if hasattr(norm, "variance")
        )


@pytest.mark.parametrize("score", [5.0, -5.0])
def test_a_head_answers_where_a_film_resembles_its_site_and_nowhere_else(members, films, score):
    heads = _heads(score)
    combined = Combined(members, heads)
    evidence, scores = combined.map_and_scores(films)
    general, inner = combined.general(films)
    alone = general.mean((1, 2))
    answers = (means(inner) @ heads.answers.T + heads.answer_bias)[:, 0]
    wanted = answers if score > 0 else alone
    assert torch.allclose(evidence.mean((1, 2)), wanted, atol=1e-3)
    assert not torch.allclose(answers, alone, atol=1e-2)
    assert torch.allclose(scores, torch.tensor([-score, score]).expand(4, 2))


@pytest.mark.parametrize(("score", "home_score"), [(5.0, -5.0), (-5.0, -5.0), (-5.0, 5.0)])
def test_the_networks_count_in_a_head_and_a_head_changes_no_answer_elsewhere(
    members, films, score, home_score
):
    heads = _heads(score, home_score=home_score, general=0.4)
    combined = Combined(members, heads)
    found = combined(films)
    general, inner = combined.general(films)
    alone = general.mean((1, 2))
    answers = (means(inner) @ heads.answers.T + heads.answer_bias)[:, 0] + 0.4 * alone
    assert torch.allclose(found, answers if score > 0 else alone, atol=1e-3)
    assert not torch.allclose(answers, alone, atol=1e-2)


def test_a_film_that_resembles_no_site_is_far_but_still_a_chest():
    distance = torch.tensor([0.1, 0.1, 0.6, 3.0])
    scores = torch.tensor([[0.2, -1.0], [-0.1, -2.0], [-9.0, -9.0], [-1.0, -1.0]])
    raised = widened(distance, scores, {"unusual": 0.2, "not_a_chest_film": 0.7})
    assert raised[0] == distance[0]
    assert all(0.2 <= float(value) < 0.7 for value in raised[1:3])
    assert raised[3] == distance[3]
    assert widened(distance, None, None) is distance


def test_the_graph_says_the_same_in_half_the_bytes(members, films):
    for member in members:
        fold_norms(member.network)
    combined = Combined(members, _heads(0.5)).eval()
    in_float32 = 4 * count_parameters(combined)
    round_to_half(combined)
    graph = onnx_graph(combined, 64, 1.5)
    assert len(graph) < 0.55 * in_float32
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["probability", "logit", "activation_map", "site_scores"]
    found = dict(zip(names, session.run(names, {"film": films.numpy()}), strict=True))
    with torch.inference_mode():
        evidence, scores = combined.map_and_scores(films)
    assert np.allclose(found["logit"], evidence.mean((1, 2)), atol=1e-3)
    assert np.allclose(found["probability"], torch.sigmoid(evidence.mean((1, 2)) / 1.5), atol=1e-3)
    assert np.allclose(found["site_scores"], scores, atol=1e-4)


def test_a_linear_score_parts_what_can_be_parted():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (200, 5))
    is_one = features[:, 2] > 3
    score = fit_linear(features, is_one, 10.0)
    assert ((score(features) > 0) == is_one).mean() > 0.97
    assert np.allclose(score.less(1.5)(features), score(features) - 1.5)
    assert np.allclose(score.scaled(2, 1)(features), 2 * score(features) + 1)


def _two_clouds() -> tuple[np.ndarray, np.ndarray]:
    """Points about one centre, the first ones far less spread along one axis."""
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(0, [1, 0.2, 1], (600, 3)), rng.normal(0, [1, 2, 1], (900, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return inside @ turn + 4, outside @ turn + 4


def test_a_quadratic_score_parts_what_no_plane_parts():
    inside, outside = _two_clouds()
    score = fit_ratio(inside, outside, 3)
    points = np.concatenate([inside, outside])
    is_inside = np.arange(len(points)) < len(inside)
    assert roc_auc_score(is_inside, score(points)) > 0.9
    assert 0.4 < roc_auc_score(is_inside, fit_linear(points, is_inside, 1.0)(points)) < 0.6
    assert np.isclose(score(inside).std(), 1)
    assert np.allclose(score.less(1.5)(points), score(points) - 1.5)


def test_a_quadratic_score_orders_films_as_discriminant_analysis_does():
    inside, outside = _two_clouds()
    points = np.concatenate([inside, outside])
    is_inside = np.arange(len(points)) < len(inside)
    peer = QuadraticDiscriminantAnalysis().fit(points, is_inside).decision_function(points)
    assert spearmanr(fit_ratio(inside, outside, 3)(points), peer).statistic > 0.97


def test_heads_score_films_as_the_fitted_scores_do():
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(1, 1, (80, 768)), rng.normal(0, 2, (90, 768))
    scores = [fit_ratio(inside[:, :64] * scale, outside[:, :64], 24) for scale in (1, 2)]
    home = fit_linear(np.concatenate([inside, outside]), np.arange(170) < 80, 1.0)
    heads = SiteHeads(
        home, [Head(name, score, home) for name, score in zip("bc", scores, strict=True)], WIDTHS
    )
    maps = torch.split(torch.from_numpy(outside.astype(np.float32))[:, :, None, None], WIDTHS, 1)
    found = heads.scores(maps).numpy()
    assert np.allclose(found[:, 0], home(outside), atol=1e-3)
    assert np.allclose(found[:, 1:], np.stack([score(outside) for score in scores], 1), atol=1e-3)
