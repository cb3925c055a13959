"""Cotangents kept as the layers between: every verb as if they were numbers."""

import pytest
import torch
from support.laws import assert_close
from support.models import normal

from geodescent.jacobian import ChainedCotangents, DenseCotangents

EXACT = 1e-13
N, Q, WIDTHS = 7, 3, (5, 4, 6)


def chained(depth: int) -> ChainedCotangents:
    """Through `depth` linear layers, for 7 samples and 3 outputs."""
    widths = (*WIDTHS[:depth], Q)
    torch.manual_seed(depth)
    weights = tuple(normal(widths[k + 1], widths[k]) for k in range(depth))
    return ChainedCotangents(weights, tuple(normal(N, widths[k]) for k in range(depth)))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_chain_is_the_product_of_its_layers(depth: int) -> None:
    g = chained(depth)
    for i in range(N):
        expected = torch.eye(Q, dtype=torch.float64)
        for weight, slopes in zip(reversed(g.weights), reversed(g.slopes), strict=True):
            expected = expected @ weight @ torch.diag(slopes[i])
        assert_close(g.dense()[i, :, 0], expected, EXACT)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_chain_answers_as_its_numbers_do(depth: int) -> None:
    g = chained(depth)
    dense = DenseCotangents(g.dense())
    moved, u, inner = normal(N, 1, WIDTHS[0]), normal(N, Q), normal(N, 1, 1).square()
    assert g.shape == dense.shape and g.size == dense.size
    assert_close(g.apply(moved), dense.apply(moved), EXACT)
    assert_close(g.collect(u), dense.collect(u), EXACT)
    assert_close(g.squares(inner), dense.squares(inner), EXACT)
    assert_close(g.coupled(inner), dense.coupled(inner), EXACT)
    assert_close(g.moment(), dense.moment(), EXACT)
    weights = normal(N, 1).expand(N, Q)
    assert isinstance(g.scaled(weights), ChainedCotangents)
    assert_close(g.scaled(weights).dense(), dense.scaled(weights).dense(), EXACT)
    rows, matrix, factor = normal(N, Q), normal(Q, 2), torch.tensor(3.0, dtype=torch.float64)
    assert_close(g.scaled(rows).dense(), dense.scaled(rows).dense(), EXACT)
    assert_close(g.mixed(matrix).dense(), dense.mixed(matrix).dense(), EXACT)
    blocks = normal(N, Q, 2)
    assert_close(g.mixed(blocks).dense(), dense.mixed(blocks).dense(), EXACT)
    assert_close(g.times(factor).dense(), dense.times(factor).dense(), EXACT)
    assert_close(g.samples(slice(1, 6, 2)).dense(), dense.samples(slice(1, 6, 2)).dense(), EXACT)
    assert_close(g.part(slice(1, 4)).dense(), dense.part(slice(1, 4)).dense(), EXACT)
    assert g.to(torch.float32).dense().dtype == torch.float32


@pytest.mark.parametrize("depth", [1, 2])
def test_the_averaged_chain_has_the_mean_gram_of_the_outputs(depth: int) -> None:
    g = chained(depth)
    averaged, dense = g.averaged().dense().flatten(1), g.dense()[:, :, 0]
    expected = torch.einsum("iqo,jqo->ij", dense, dense) / Q
    assert_close(averaged @ averaged.T, expected, EXACT)
