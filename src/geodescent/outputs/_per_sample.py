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
from geodescent.jacobian import DenseColumns
from geodescent.linalg import norm
from geodescent.outputs._autograd import differ, gradient_of, random_rows
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, map_inputs, n_samples_of, take

COMPARED_PRODUCTS = 3  # Products Dᵀu: that of one parameter is one number, which may be right by chance.
CLOSELY = 2.0 / 3.0  # Power of eps: wrong numbers of similar samples are nearly right ones.


@dataclass
class PerSample:
    """D's columns for the parameters that no rule accounts for.

    Attributes:
        names: of the parameters, some.
        vectorised: whether vmap has given the right numbers so far. It fails for some operations, for others at some
            sizes, and that of `F.prelu` gives wrong numbers without an error where there are as many samples as
            outputs: so its first answer for each number of samples is compared with autograd's Dᵀu.
        verified: the numbers of samples for which it was right.
    """

    names: list[str]
    vectorised: bool = True
    verified: set[int] = field(default_factory=set)

    def columns(self, function: ModelFunction, theta: Theta, inputs: Inputs, n_outputs: int) -> DenseColumns:
        """The columns, formed, while the model's parameters are θ.

        Raises: MemoryPlanError, where they do not fit.
        """
        chosen = [p for p in function.parameters if p.name in self.names]
        width = sum(math.prod(p.shape) for p in chosen)
        _require_memory(function, width, n_samples_of(inputs) * n_outputs)
        derivatives = self._by_vmap(function, theta, inputs, n_outputs)
        if derivatives is None:
            derivatives = by_loop(function, function.views(theta), inputs, self.names, n_outputs)
        values = torch.cat([derivatives[p.name].reshape(*derivatives[p.name].shape[:2], -1) for p in chosen], 2)
        index = torch.cat([function.entries(p).reshape(-1) for p in chosen])
        return DenseColumns(values, index, " + ".join(p.name for p in chosen))

    def _by_vmap(
        self, function: ModelFunction, theta: Theta, inputs: Inputs, n_outputs: int
    ) -> dict[str, Tensor] | None:
        """The derivatives, or None where vmap does not have them."""
        if not self.vectorised:
            return None
        n = n_samples_of(inputs)
        try:
            derivatives = by_vmap(function, function.views(theta), inputs, self.names, n_outputs)
        except Exception:  # vmap refuses in many ways; the loop gives the same numbers
            self.vectorised = False
            return None
        if n not in self.verified:
            self.vectorised = self._right(function, theta, inputs, derivatives)
            self.verified.add(n)
        return derivatives if self.vectorised else None

    def _right(self, function: ModelFunction, theta: Theta, inputs: Inputs, derivatives: dict[str, Tensor]) -> bool:
        """Whether `Dᵀu` agrees with that of autograd on the whole batch, for a few u."""
        leaves = function.leaves(theta)
        with torch.enable_grad():
            outputs = function.outputs(leaves, inputs)
        u, wanted = random_rows(outputs.shape, outputs).reshape(-1), [leaves[name] for name in self.names]
        for along in (u.roll(k) for k in range(COMPARED_PRODUCTS)):
            theirs = [g.reshape(-1) for g in gradient_of(outputs, wanted, along.view(outputs.shape))]
            ours = [along @ derivatives[name].reshape(u.numel(), -1) for name in self.names]
            whole = norm(torch.cat(theirs))
            pairs = zip(ours, theirs, strict=True)
            if math.isfinite(whole) and any(differ(a, b, whole, CLOSELY) for a, b in pairs):
                return False
        return True


def by_vmap(
    function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, names: list[str], n_outputs: int
) -> dict[str, Tensor]:
    """`{name: (N, Q, *shape)}`."""
    fixed = {name: view for name, view in views.items() if name not in names}

    def one(chosen: dict[str, Tensor], sample: Inputs) -> Tensor:
        return function.outputs({**fixed, **chosen}, map_inputs(lambda t: t[None], sample))[0]

    chosen = {name: views[name] for name in names}
    width = n_outputs * sum(view.numel() for view in views.values()) * function.dtype.itemsize
    chunk = max(1, budget().batch_bytes // max(1, width))
    derivatives, n = vmap(jacrev(one), in_dims=(None, 0)), n_samples_of(inputs)
    parts = list[dict[str, Tensor]]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        for start in range(0, n, chunk):
            require_time("a linearisation")
            parts.append(derivatives(chosen, map_inputs(itemgetter(slice(start, start + chunk)), inputs)))
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in names}


def by_loop(
    function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, names: list[str], n_outputs: int
) -> dict[str, Tensor]:
    """The same by one backward pass for each residual, for models that vmap does not support.

    Two samples are given to the model at a time: some layers refuse a single one.
    """
    n = n_samples_of(inputs)
    leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
    chosen = [leaves[name] for name in names]
    derivatives = {name: views[name].new_zeros(n, n_outputs, *views[name].shape) for name in names}
    for start in range(0, n, 2):
        require_time("a linearisation")
        pair = [start, min(start + 1, n - 1)]
        with torch.enable_grad():
            outputs = function.outputs(leaves, take(inputs, pair))
        for (row, i), k in product(enumerate(pair), range(n_outputs)):
            gradients = torch.autograd.grad(outputs[row, k], chosen, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    derivatives[name][i, k] = gradient.to_dense()
    return derivatives


def _require_memory(function: ModelFunction, n_params: int, n_residuals: int) -> None:
    what = f"the rows of {n_params} parameters outside the rules, for {n_residuals} residuals,"
    n_bytes = n_residuals * n_params * function.dtype.itemsize
    require(
        n_bytes,
        function.device,
        what=what,
        instead="Use fewer samples, or give their layers a rule with gd.register_rule.",
    )
