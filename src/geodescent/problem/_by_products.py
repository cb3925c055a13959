"""Maps whose D is known by its products alone: for maps of which forming D takes too long."""

import math

import torch
from torch import Tensor

from geodescent._types import Outputs, Theta
from geodescent.jacobian import MatrixJacobian
from geodescent.outputs import OutputMap, Traced, declare, products
from geodescent.problem._around import AroundMap
from geodescent.problem._problem import Problem


class ByProducts(AroundMap):
    """The same `x[θ]` as of another map, with `D v` and `Dᵀu` by autograd in place of the columns of D.

    A product with D and one with Dᵀ take about as long as two gradients of a loss, whatever Q; D itself takes Q of
    them, or one for each sample. So this is for many outputs, or layers without a rule, where few products are wanted.

    Attributes:
        map: that autograd can differentiate.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the outputs."""
        return self.map.shape

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`."""
        return self.map(theta)

    def linearise(self, theta: Theta) -> tuple[Outputs, MatrixJacobian]:
        """`x[θ]` and D: one call, and some for each product."""
        outputs = self.map
        assert isinstance(outputs, Traced)
        mv, rmv = products(outputs.traced, theta)
        shape = math.prod(self.shape), len(theta)
        return self.map(theta), MatrixJacobian((mv, rmv), shape=shape, dtype=self.dtype, device=self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Tensor:
        """`d²x[θ + s·direction]/ds²` at s = 0."""
        return self.map.second_derivative(theta, direction)


class ByGradients(ByProducts):
    """The same for steps that take one product with Dᵀ each, which is the gradient of a loss: one call and a pass."""

    def linearise(self, theta: Theta) -> tuple[Outputs, MatrixJacobian]:
        """`x[θ]` and D: one call, and a backward pass for each product with Dᵀ; one with D takes other calls."""
        outputs = self.map
        assert isinstance(outputs, Traced)
        function, leaf = outputs.traced, theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            values = function(leaf)

        def mv(v: Tensor) -> Tensor:
            return products(function, theta)[0](v)

        def rmv(u: Tensor) -> Theta:
            if not values.requires_grad:  # a model whose outputs do not depend on θ
                return torch.zeros_like(leaf)
            with torch.enable_grad():
                along = (values * u.view(values.shape)).sum()
            (gradient,) = torch.autograd.grad(along, leaf, retain_graph=True)
            return gradient

        shape = math.prod(self.shape), len(theta)
        return values.detach(), MatrixJacobian((mv, rmv), shape=shape, dtype=self.dtype, device=self.device)


def by_gradients(problem: Problem) -> Problem:
    """A problem whose maps autograd can differentiate, with D by products with Dᵀ."""
    return Problem(tuple(b.of_samples(ByGradients(b.map), b.target, b.weights) for b in problem.blocks))


declare(ByProducts, OutputMap)
declare(ByGradients, OutputMap)
