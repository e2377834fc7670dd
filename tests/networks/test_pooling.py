import pytest
import torch
import torch.nn.functional as F

from pneumoscan.networks.layers import max_pool_relu


def plain(x: torch.Tensor) -> torch.Tensor:
    return F.relu(F.max_pool2d(x, 2, ceil_mode=True))


def maps(*shape: int, levels: int = 1000, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    torch.manual_seed(0)
    return (torch.randint(-levels, levels, shape) / 8).to(dtype).to(memory_format=torch.channels_last)


def both(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Values and gradients of torch's pooling and of ours."""
    n, channels, height, width = x.shape
    weights = torch.randn(n, channels, -(-height // 2), -(-width // 2)).to(x.dtype)
    found = []
    for pool in (plain, lambda map_: max_pool_relu(map_, training=True)):
        leaf = x.clone().requires_grad_()
        pooled = pool(leaf * 1)
        pooled.backward(weights)
        found.append((pooled.detach(), leaf.grad))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("levels", [1000, 3])  # with 3, most maxima are shared and a third is 0
def test_values_and_gradients_are_those_of_torch(dtype: torch.dtype, levels: int) -> None:
    (values, gradient), (ours, ours_gradient) = both(maps(3, 8, 20, 24, levels=levels, dtype=dtype))
    assert torch.equal(ours, values)
    assert torch.equal(ours_gradient, gradient)


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (2, 4, 6, 5), (2, 4, 25, 25)])
def test_odd_sides_are_pooled_as_torch_does(shape: tuple[int, ...]) -> None:
    (values, gradient), (ours, ours_gradient) = both(maps(*shape))
    assert torch.equal(ours, values)
    assert torch.equal(ours_gradient, gradient)


def test_it_is_our_own_pooling_that_trains_and_torchs_that_reads() -> None:
    x = maps(1, 2, 4, 4).requires_grad_()
    assert "MaxPoolReLU" in str(max_pool_relu(x * 1, training=True).grad_fn)
    assert "Relu" in str(max_pool_relu(x * 1, training=False).grad_fn)
    assert "Relu" in str(max_pool_relu((x * 1).contiguous(), training=True).grad_fn)
    assert "Relu" in str(max_pool_relu(x.float(), training=True).grad_fn)
    assert max_pool_relu(x.detach(), training=True).grad_fn is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_map_of_nan_stays_nan(sign: int) -> None:
    x = torch.full((1, 2, 4, 4), sign * torch.nan, dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    assert max_pool_relu(x * 1, training=True).isnan().all()


def test_a_second_backward_pass_is_refused() -> None:
    pooled = max_pool_relu(maps(1, 2, 4, 4).requires_grad_() * 1, training=True).sum()
    pooled.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        pooled.backward()
