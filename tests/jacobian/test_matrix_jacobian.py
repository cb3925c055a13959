"""A Jacobian from a matrix or from two functions: what is computed, how often, and what is refused."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close
from support.matrices import F64, vector
from torch import Tensor

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.jacobian import MatrixJacobian, stacked

EXACT = 1e-12


class Products:
    """The two functions of a matrix, which count how often they are called and take vectors of their own dtype."""

    def __init__(self, m: int, k: int, dtype: torch.dtype = F64) -> None:
        self.matrix, self.calls = vector(m * k).view(m, k).to(dtype), Counter[str]()

    def mv(self, v: Tensor) -> Tensor:
        self.calls["mv"] += 1
        assert v.shape == (self.matrix.shape[1],) and v.dtype == self.matrix.dtype
        return self.matrix @ v

    def rmv(self, u: Tensor) -> Tensor:
        self.calls["rmv"] += 1
        assert u.shape == (self.matrix.shape[0],) and u.dtype == self.matrix.dtype
        return self.matrix.T @ u

    def jacobian(self) -> MatrixJacobian:
        return MatrixJacobian((self.mv, self.rmv), shape=tuple(self.matrix.shape), dtype=self.matrix.dtype)


@pytest.mark.parametrize(("m", "k", "calls"), [(4, 9, {"rmv": 4}), (9, 4, {"mv": 4}), (5, 5, {"mv": 5})])
def test_the_matrix_is_formed_once_by_as_few_products_as_it_takes(m: int, k: int, calls: dict[str, int]) -> None:
    products = Products(m, k)
    jacobian = products.jacobian()
    for _ in range(2):
        assert_close(jacobian.gram(), products.matrix @ products.matrix.T, EXACT)
        assert_close(jacobian.normal(), products.matrix.T @ products.matrix, EXACT)
        assert_close(jacobian.row_squares(), products.matrix.square().sum(1), EXACT)
    assert products.calls == calls


def test_a_product_is_one_call_and_a_scale_costs_none() -> None:
    products = Products(4, 9)
    rows, columns = vector(4, 1), vector(9, 2)
    scaled = products.jacobian().scaled(rows=rows).scaled(columns=columns)
    assert not products.calls
    dense = rows[:, None] * products.matrix * columns
    assert_close(scaled.mv(vector(9)), dense @ vector(9), EXACT)
    assert_close(scaled.rmv(vector(4)), dense.T @ vector(4), EXACT)
    assert products.calls == {"mv": 1, "rmv": 1}


@pytest.mark.parametrize(("source", "other"), [(F64, torch.float32), (torch.float32, F64)])
def test_the_functions_are_called_in_their_own_precision(source: torch.dtype, other: torch.dtype) -> None:
    products = Products(4, 9, source)
    jacobian = products.jacobian().to(other)
    assert jacobian.dtype == jacobian.mv(vector(9).to(other)).dtype == jacobian.gram().dtype == other
    assert_close(jacobian.mv(vector(9).to(other)), products.matrix.to(other) @ vector(9).to(other), 1e-6)
    assert_close(jacobian.dense(), products.matrix.to(other), 1e-6)


def test_what_the_functions_return_leaves_their_graph() -> None:
    """Functions of a module's own parameters, which autograd follows: nothing that comes out does."""
    weight = vector(12).view(3, 4).requires_grad_()
    jacobian = MatrixJacobian((lambda v: weight @ v, lambda u: weight.T @ u), shape=(3, 4))
    for result in (jacobian.mv(vector(4)), jacobian.rmv(vector(3)), jacobian.gram(), jacobian.dense()):
        assert not result.requires_grad
    assert not MatrixJacobian(weight).gram().requires_grad


def test_of_functions_whose_matrix_is_large_the_rows_are_not_formed() -> None:
    """The diagonal of G is then estimated, alike at every call: E(Dz)² over signs z, exact of rows with one number."""
    products = Products(30, 40)
    jacobian, exact = products.jacobian(), products.matrix.square().sum(1)
    single = vector(30).diag()
    with spending(Budget(rows_numbers=30 * 30 - 1)):
        assert not jacobian.holds_rows and not stacked([jacobian, MatrixJacobian(vector(40)[None])]).holds_rows
        squares = jacobian.row_squares()
        assert torch.equal(squares, jacobian.row_squares())
        assert set(products.calls) == {"mv"}
        assert 0.0 < float((squares / exact - 1.0).square().mean().sqrt()) < 0.4
        of_one = MatrixJacobian((lambda v: single @ v, lambda u: single.T @ u), shape=(30, 30))
        assert_close(of_one.row_squares(), vector(30).square(), EXACT)
    with spending(Budget(rows_numbers=30 * 40)):
        assert jacobian.holds_rows
        assert_close(jacobian.row_squares(), exact, EXACT)


def test_a_matrix_of_functions_that_does_not_fit_is_not_formed() -> None:
    products = Products(30, 40)
    sentence = r"D of 30 × 40, from its products needs .* Use gd\.KrylovLift\(\)\."
    with spending(Budget(free_bytes=15_000)), pytest.raises(gd.MemoryPlanError, match=sentence):
        products.jacobian().row_squares()
    assert not products.calls


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((torch.ones(3),), {}, r"D has shape \(3,\) and dtype torch.float32: \(m, K\)"),
        ((torch.ones(3, 2, dtype=torch.int64),), {}, r"dtype torch.int64: \(m, K\) in float32 or float64"),
        ((torch.ones(3, 2),), {"shape": (2, 3)}, r"D has shape \(3, 2\) and shape = \(2, 3\) was given"),
        (((len, len),), {}, r"a pair of functions needs shape=\(m, K\)"),
        (((len, len),), {"shape": (3, 0)}, r"shape = \(3, 0\): a pair of functions needs shape=\(m, K\)"),
        (((len, 3),), {"shape": (3, 2)}, r"\(mv, rmv\), not a tuple of 2 \(builtin_function_or_method, int\)"),
        (((len, len, len),), {"shape": (3, 2)}, r"\(mv, rmv\), not a tuple of 3"),
        ((3.0,), {"shape": (3, 2)}, r"D as a tensor, or a pair of functions \(mv, rmv\), not float"),
    ],
)
def test_what_is_no_matrix_is_refused(arguments: tuple, options: dict, sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence):
        MatrixJacobian(*arguments, **options)


@pytest.mark.parametrize(
    ("mv", "rmv", "sentence"),
    [
        (lambda v: v[:3, None], lambda u: u, r"mv .* returned shape \(3, 1\): a vector \(3,\) .*reshape\(-1\)"),
        (lambda v: v[:1], lambda u: u, r"mv .* returned shape \(1,\): a vector \(3,\)"),
        (lambda v: v[:3].float(), lambda u: u, r"mv .* returned torch\.float32 on cpu, and .* torch\.float64 on cpu"),
        (lambda v: v[:3].to("meta"), lambda u: u, r"mv .* returned torch\.float64 on meta"),
        (lambda v: v[:3].tolist(), lambda u: u, r"mv .* returned list: return a tensor \(3,\)"),
        (lambda v: v[:3], lambda u: u[None], r"rmv .* returned shape \(1, 3\): a vector \(4,\)"),
    ],
)
def test_what_the_functions_return_is_checked(
    mv: Callable[[Tensor], Tensor], rmv: Callable[[Tensor], Tensor], sentence: str
) -> None:
    jacobian = MatrixJacobian((mv, rmv), shape=(3, 4))
    with pytest.raises(gd.InputError, match=sentence):
        jacobian.mv(vector(4))
        jacobian.rmv(vector(3))
