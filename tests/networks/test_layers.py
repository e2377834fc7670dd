import torch

from pneumoscan.networks.layers import BatchNorm, Dropout, calibrate, has_batch_norm, seed_dropout


def test_training_normalises_by_the_batch_and_keeps_nothing() -> None:
    layer = BatchNorm(3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = 5 + 2 * torch.randn(8, 3, 9, 9)
    y = layer.train()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_calibration_measures_what_reading_then_uses() -> None:
    network = torch.nn.Sequential(BatchNorm(2), torch.nn.ReLU(), BatchNorm(2, weight=3.0), Dropout(0.5))
    batches = [shift + scale * torch.randn(64, 2, 5, 5) for shift, scale in ((1.0, 2.0), (3.0, 4.0))]
    calibrate(network, batches)
    first, _, second, _ = network
    torch.testing.assert_close(first.mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0))
    expected = torch.stack([b.var((0, 2, 3), correction=0) for b in batches]).mean(0)
    torch.testing.assert_close(first.variance, expected)
    assert not network.training
    assert first.seen is None
    x = torch.randn(4, 2, 5, 5)
    inner = torch.relu((x - first.mean.view(1, -1, 1, 1)) / (first.variance.view(1, -1, 1, 1) + 1e-5).sqrt())
    read = 3 * (inner - second.mean.view(1, -1, 1, 1)) / (second.variance.view(1, -1, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(network(x), read)
    assert has_batch_norm(network)
    assert not has_batch_norm(torch.nn.Sequential(Dropout(0.5)))


def test_dropping_whole_maps() -> None:
    network = torch.nn.Sequential(Dropout(0.5, whole_maps=True), BatchNorm(32)).train()
    seed_dropout(network, 3)
    kept = network[0](torch.ones(16, 32, 4, 4))
    assert set(kept.flatten().tolist()) == {0.0, 2.0}
    assert (kept.amax((2, 3)) == kept.amin((2, 3))).all()
    assert 0.4 < (kept > 0).float().mean() < 0.6
