"""Parameters that no rule accounts for: derivatives of each sample, by vmap in chunks or by a loop."""

import math
import warnings
from operator import itemgetter

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from geodescent._budget import budget, require
from geodescent._deadline import require_time
from geodescent._types import Theta
from geodescent.jacobian import DenseColumns
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs, map_inputs, n_samples_of, take


def per_sample_columns(
    function: ModelFunction, theta: Theta, inputs: Inputs, names: list[str], n_outputs: int, *, vectorised: bool
) -> DenseColumns:
    """D's columns for the parameters `names`, formed.

    Raises: MemoryPlanError, where they do not fit.
    """
    chosen = [p for p in function.parameters if p.name in names]
    _require_memory(function, sum(math.prod(p.shape) for p in chosen), n_samples_of(inputs) * n_outputs)
    index = torch.cat([function.entries(p).reshape(-1) for p in chosen])
    rows = by_vmap if vectorised else by_loop
    derivatives = rows(function, function.views(theta), inputs, names, n_outputs)
    values = torch.cat([derivatives[p.name].reshape(*derivatives[p.name].shape[:2], -1) for p in chosen], 2)
    return DenseColumns(values, index, " + ".join(p.name for p in chosen))


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
    """The same by one backward pass for each residual, for models that vmap does not support."""
    n = n_samples_of(inputs)
    leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
    chosen = [leaves[name] for name in names]
    derivatives = {name: views[name].new_zeros(n, n_outputs, *views[name].shape) for name in names}
    for i in range(n):
        require_time("a linearisation")
        with torch.enable_grad():
            outputs = function.outputs(leaves, take(inputs, [i]))[0]
        for k in range(n_outputs):
            gradients = torch.autograd.grad(outputs[k], chosen, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    derivatives[name][i, k] = gradient
    return derivatives


def vectorises(function: ModelFunction, inputs: Inputs, names: list[str]) -> bool:
    """Whether vmap supports the model."""
    try:
        by_vmap(function, function.views(function.theta), inputs, names, 1)
    except Exception:  # vmap refuses in many ways; the loop gives the same numbers
        return False
    return True


def _require_memory(function: ModelFunction, n_params: int, n_residuals: int) -> None:
    what = f"the rows of {n_params} parameters outside the rules, for {n_residuals} residuals,"
    n_bytes = n_residuals * n_params * function.dtype.itemsize
    require(
        n_bytes,
        function.device,
        what=what,
        instead="Use fewer samples, or give their layers a rule with gd.register_rule.",
    )
