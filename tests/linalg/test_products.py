"""Half of a product, and the whole of it."""

import pytest
import torch

from geodescent.linalg import outer_square


@pytest.mark.parametrize("n", [1, 3, 256, 257, 600])
def test_the_square_of_a_matrix_is_symmetric_and_the_product(n: int) -> None:
    rows = torch.randn(n, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    for matrix in (rows, rows.T.contiguous().T):
        square = outer_square(matrix)
        torch.testing.assert_close(square, square.T, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(square, rows @ rows.T, rtol=1e-13, atol=1e-13)
