"""Rank losses made on purpose: units that die or are silenced, samples that repeat, a net too deep."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._settings import ANY_SEED, Whole


def kill_units(model: nn.Module, X: Tensor, layer: str, units: Iterable[int]) -> None:
    """Lowers the biases of these units until none is positive on any sample: a ReLU behind them is dead there.

    D loses their columns; around the point too, for as long as they stay dead.

    Args:
        model: changed in place.
        X: all samples.
        layer: name of an nn.Linear with a bias, as in `named_modules`.
        units: indices of its outputs.
    """
    module, outputs = _linear(model, layer), list[Tensor]()
    chosen = _checked_units(units, module.out_features, layer)
    if module.bias is None:
        raise InputError(f"{layer} has no bias: its units cannot be lowered.")
    handle = module.register_forward_hook(lambda module, inputs, z: outputs.append(z.detach().flatten(0, -2).clone()))
    modes = [(part, part.training) for part in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(X)
    finally:
        handle.remove()
        for part, training in modes:
            part.training = training
    if not outputs:
        raise InputError(f"the model does not call {layer}: nothing is known of its units.")
    highest = torch.cat(outputs).amax(0)[chosen]
    with torch.no_grad():
        module.bias[chosen] -= highest + highest.abs().clamp(min=1.0)


def silence_units(model: nn.Module, layer: str, units: Iterable[int]) -> None:
    """Sets the weights on these inputs of a layer to zero: what leads into them moves no output any more.

    D loses the columns of the units before; only the weights made zero still feel them, so that the rank comes back
    with the first step.

    Args:
        model: changed in place.
        layer: name of an nn.Linear.
        units: indices of its inputs.
    """
    module = _linear(model, layer)
    chosen = _checked_units(units, module.in_features, layer)
    with torch.no_grad():
        module.weight[:, chosen] = 0.0


def repeat_samples(X: Tensor, y: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """X and y with the first n inputs a second time, under the targets of the n after them.

    G has n rows twice; where the targets differ, a quarter of the sum of `‖yᵢ − y′ᵢ‖²` over N is the floor for good.
    """
    n = Whole(1).of("n", n)
    if len(y) != len(X):
        raise InputError(f"X holds {len(X)} samples and y {len(y)}: one target a sample is needed.")
    if not 0 < 2 * n <= len(X):
        raise InputError(f"n = {n}: at most half of the {len(X)} samples can be repeated under other targets.")
    return torch.cat([X, X[:n]]), torch.cat([y, y[n : 2 * n]])


def deep_relu(X: Tensor, n_outputs: int, depth: int, *, seed: int = 0) -> nn.Sequential:
    """A chain of `depth` ReLU layers of one unit each, every one of which sends one more sample to zero.

    After layer ℓ only the N − ℓ samples furthest along a random line are alive; at depth N all outputs are the last
    bias, D has rank Q, and stays so around the point: nothing can be learnt but the mean.

    Args:
        X: samples, (N, M), distinct.
        n_outputs: Q.
        depth: layers, 1 to N.
        seed: of the line and of the last layer.
    """
    n_outputs, depth = Whole(1, least=1).of("n_outputs", n_outputs), Whole(1).of("depth", depth)
    seed = ANY_SEED.of("seed", seed)
    if X.dim() != 2 or not X.dtype.is_floating_point or not bool(torch.isfinite(X).all()):
        raise InputError(
            f"X must be a finite table of floating-point numbers, (N, M): it is {X.dtype} {tuple(X.shape)}."
        )
    n, m = X.shape
    if len(torch.unique(X, dim=0)) < n:
        raise InputError("some rows of X are the same: a layer cannot send one of them to zero and keep the other.")
    if not 1 <= depth <= n:
        raise InputError(f"depth = {depth}: from 1 to N = {n}, where every sample has died.")
    generator = torch.Generator().manual_seed(seed)
    line = torch.randn(m, generator=generator, dtype=torch.float64, device="cpu").to(X)
    places = (X @ line).sort().values
    cuts = torch.cat([0.5 * (places[1:] + places[:-1]), places[-1:] + 1.0])[:depth]
    layers: list[nn.Module] = [nn.Linear(m, 1, device="meta"), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(1, 1, device="meta"), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(1, n_outputs, device="meta")).to(X.dtype).to_empty(device=X.device)
    linear = [module for module in net if isinstance(module, nn.Linear)]
    with torch.no_grad():
        linear[0].weight[0], linear[0].bias[0] = line, -cuts[0]
        for module, step in zip(linear[1:-1], cuts.diff(), strict=True):
            module.weight[:], module.bias[:] = 1.0, -step
        linear[-1].weight[:] = torch.randn(n_outputs, 1, generator=generator, dtype=torch.float64, device="cpu").to(X)
        linear[-1].bias[:] = 0.0
    return net


def _checked_units(units: Iterable[int], width: int, layer: str) -> list[int]:
    numbers = torch.as_tensor(list(units), device="cpu")
    chosen = [] if numbers.dtype == torch.bool else [int(unit) for unit in numbers]
    if not chosen or not 0 <= min(chosen) <= max(chosen) < width:
        raise InputError(f"units must be indices from 0 to {width - 1} of {layer}, not {chosen or 'none, or a mask'}.")
    return sorted(set(chosen))


def _linear(model: nn.Module, layer: str) -> nn.Linear:
    module = dict(model.named_modules()).get(layer)
    if not isinstance(module, nn.Linear):
        known = ", ".join(name for name, m in model.named_modules() if isinstance(m, nn.Linear))
        raise InputError(f"{layer!r} is no nn.Linear of the model; these are: {known or 'none'}.")
    return module
