"""Parameters that no rule accounts for: derivatives of each sample, by vmap in chunks or by a loop."""

import math
import warnings
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from geodescent._budget import budget, require
from geodescent._deadline import require_time
from geodescent._types import Theta
from geodescent.jacobian import DenseColumns, chunks
from geodescent.linalg import norm
from geodescent.outputs._autograd import differ, gradient_of, random_rows
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, map_inputs, n_samples_of, take
from geodescent.outputs.graph import rows_by_products

COMPARED_PRODUCTS = 3  # Products Dᵀu: that of one parameter is one number, which may be right by chance.
BESIDE = 2.5  # Times the rows of the samples taken at once: what vmap and a backward pass hold beside their result.
CLOSELY = 2.0 / 3.0  # Power of eps: wrong numbers of similar samples are nearly right ones.


@dataclass
class PerSample:
    """D's columns for the parameters that no rule accounts for.

    Attributes:
        names: of the parameters, some.
        graph_bytes: of autograd's graph of one sample.
        vectorised: whether vmap has given the right numbers so far. It fails for some operations, and for others at
            some sizes: so its first answer for each number of samples is compared with autograd's Dᵀu.
        verified: the numbers of samples for which it was right.
        multiplied: whether all uses of the parameters have been products so far, which are taken where vmap fails.
    """

    names: list[str]
    graph_bytes: int = 0
    vectorised: bool = True
    verified: set[int] = field(default_factory=set)
    multiplied: bool = True

    def columns(self, function: ModelFunction, theta: Theta, inputs: Inputs, n_outputs: int) -> DenseColumns:
        """The columns, formed, while the model's parameters are θ.

        Raises: MemoryPlanError, where they do not fit.
        """
        chosen = [p for p in function.parameters if p.name in self.names]
        width = sum(math.prod(p.shape) for p in chosen)
        work = _chunk(function, n_samples_of(inputs), n_outputs) if self.vectorised else 1
        _require_memory(function, width, n_samples_of(inputs) * n_outputs, work * n_outputs, self.graph_bytes)
        values = theta.new_zeros(n_samples_of(inputs), n_outputs, width)
        parts = torch.split(values, [math.prod(p.shape) for p in chosen], 2)
        rows = {p.name: part for p, part in zip(chosen, parts, strict=True)}
        if not self._by_vmap(function, theta, inputs, rows) and not self._by_products(function, theta, inputs, rows):
            values.zero_()
            by_loop(function, function.views(theta), inputs, rows)
        index = torch.cat([function.entries(p).reshape(-1) for p in chosen])
        return DenseColumns(values, index, " + ".join(rows))

    def _by_vmap(self, function: ModelFunction, theta: Theta, inputs: Inputs, rows: dict[str, Tensor]) -> bool:
        """Whether vmap has written the derivatives to `rows`."""
        if not self.vectorised:
            return False
        n = n_samples_of(inputs)
        try:
            by_vmap(function, function.views(theta), inputs, rows)
        except Exception:  # vmap refuses in many ways; the loop gives the same numbers
            self.vectorised = False
            return False
        if n not in self.verified:
            self.vectorised = self._right(function, theta, inputs, rows)
            self.verified.add(n)
        return self.vectorised

    def _by_products(self, function: ModelFunction, theta: Theta, inputs: Inputs, rows: dict[str, Tensor]) -> bool:
        """Whether all uses of the parameters are products, and their derivatives were written to `rows`."""
        if not self.multiplied:
            return False
        leaves = function.leaves(theta)
        wanted = [leaves[name] for name in rows]
        for some in chunks(n_samples_of(inputs), max(1, budget().batch_bytes // max(1, self.graph_bytes))):
            require_time("a linearisation")
            with torch.enable_grad():
                outputs = function.outputs(leaves, map_inputs(itemgetter(some), inputs))
            for name, part in zip(rows, rows_by_products(outputs, wanted), strict=True):
                if part is None:
                    self.multiplied = False
                    return False
                rows[name][some] = part
        return True

    def _right(self, function: ModelFunction, theta: Theta, inputs: Inputs, rows: dict[str, Tensor]) -> bool:
        """Whether `Dᵀu` agrees with that of autograd on the whole batch, for a few u."""
        leaves = function.leaves(theta)
        with torch.enable_grad():
            outputs = function.outputs(leaves, inputs)
        u, wanted = random_rows(outputs.shape, outputs).reshape(-1), [leaves[name] for name in rows]
        for along in (u.roll(k) for k in range(COMPARED_PRODUCTS)):
            theirs = [g.reshape(-1) for g in gradient_of(outputs, wanted, along.view(outputs.shape))]
            ours = [along @ rows[name].flatten(0, 1) for name in rows]
            whole = norm(torch.cat(theirs))
            pairs = zip(ours, theirs, strict=True)
            if math.isfinite(whole) and any(differ(a, b, whole, CLOSELY) for a, b in pairs):
                return False
        return True


def by_vmap(function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, rows: dict[str, Tensor]) -> None:
    """Writes the derivatives by each parameter, (N, Q, k).

    Never of as many samples as outputs: rules of operations that take the axis of the one for that of the other, as
    torch's for `F.prelu` does, give wrong numbers there, and an error at all other sizes.
    """
    fixed = {name: view for name, view in views.items() if name not in rows}

    def one(chosen: dict[str, Tensor], sample: Inputs) -> Tensor:
        return function.outputs({**fixed, **chosen}, map_inputs(lambda t: t[None], sample))[0]

    chosen = {name: views[name] for name in rows}
    n, n_outputs = next(iter(rows.values())).shape[:2]
    derivatives = vmap(jacrev(one), in_dims=(None, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        for some in chunks(n, _chunk(function, n, n_outputs)):
            require_time("a linearisation")
            samples = map_inputs(itemgetter(some), inputs)
            if (n_some := n_samples_of(samples)) == n_outputs > 1:
                samples = take(samples, [*range(n_some), 0])
            for name, part in derivatives(chosen, samples).items():
                rows[name][some] = part.flatten(2)[:n_some]
            del part  # the next ones need the memory


def by_loop(function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, rows: dict[str, Tensor]) -> None:
    """The same by one backward pass for each residual, for models that vmap does not support.

    Two samples are given to the model at a time: some layers refuse a single one.
    """
    leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
    chosen = [leaves[name] for name in rows]
    n, n_outputs = next(iter(rows.values())).shape[:2]
    for start in range(0, n, 2):
        require_time("a linearisation")
        pair = [start, min(start + 1, n - 1)]
        with torch.enable_grad():
            outputs = function.outputs(leaves, take(inputs, pair))
        for (row, i), k in product(enumerate(pair), range(n_outputs)):
            gradients = torch.autograd.grad(outputs[row, k], chosen, retain_graph=True, allow_unused=True)
            for name, gradient in zip(rows, gradients, strict=True):
                if gradient is not None:
                    rows[name][i, k] = gradient.to_dense().reshape(-1)


def _chunk(function: ModelFunction, n_samples: int, n_outputs: int) -> int:
    """Samples whose derivatives are taken at once."""
    width = n_outputs * function.n_params * function.dtype.itemsize
    return min(n_samples, max(1, budget().batch_bytes // max(1, width)))


def _require_memory(function: ModelFunction, n_params: int, n_residuals: int, at_once: int, graph_bytes: int) -> None:
    """For the rows, and for the work on some of the residuals at once beside them."""
    what = f"the rows of {n_params} parameters outside the rules, for {n_residuals} residuals,"
    n_bytes = (n_residuals + BESIDE * at_once) * n_params * function.dtype.itemsize + at_once * graph_bytes
    require(
        n_bytes,
        function.device,
        what=what,
        instead="Use fewer samples, or give their layers a rule with gd.register_rule.",
    )
