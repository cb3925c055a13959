"""A user's own model in the place of the posterior's network: what it must be, and starts of it."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent.generalisation.posterior._network import linear_columns, linear_layers
from geodescent.metric import hooked

OwnModel = nn.Module | Callable[[int], nn.Module]
"""A module, or a function of a seed that returns one."""
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
ROWS_OF_A_LOOK = 3  # On which a model is called before it is used: enough to see whether rows depend on each other.
ALIKE = 1e-9  # Relative: outputs of a row alone and among others agree so well.


def starts_of_own(model: OwnModel) -> Callable[[int, int], nn.Module]:
    """What draws a start: a copy of the module, or what the function returns, for so many inputs and a seed.

    Raises InputError for what is no such model.
    """
    if isinstance(model, nn.Module):
        return lambda n_inputs, seed: checked_model(model, n_inputs)
    if not callable(model):
        raise InputError(
            f"model is a {type(model).__name__}: pass a module, or a function of a seed that returns one, such as "
            "lambda seed: torch.nn.Sequential(…); without model= the network is chosen here."
        )

    def drawn(n_inputs: int, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = model(seed)
        if not isinstance(found, nn.Module):
            raise InputError(f"model({seed}) returned a {type(found).__name__}: a torch.nn.Module is needed.")
        return checked_model(found, n_inputs)

    return drawn


def checked_model(model: nn.Module, n_inputs: int) -> nn.Module:
    """A copy in float64 on the host, in evaluation mode; the model itself stays as it is.

    Raises InputError for a model whose parameters have no prior here, with what to do.
    """
    copy = deepcopy(model).to("cpu", torch.float64).eval()
    _require_layers(copy)
    copy.requires_grad_(False)
    _require_calls(copy, n_inputs)
    return copy


def _require_layers(model: nn.Module) -> None:
    """Raises InputError for other parameters than those of linear layers."""
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS):
            raise InputError(
                f"model has {type(module).__name__} as {name!r}: its outputs depend on all rows. Leave it out; inputs "
                "are standardised here."
            )
    layers = linear_layers(model)
    if not layers:
        raise InputError("model has no nn.Linear layer: its weights have a prior, and without one nothing is learnt.")
    owned = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
    others = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in owned]
    if others:
        raise InputError(
            f"model has parameters outside of nn.Linear layers, {', '.join(others[:5])}: only those of linear layers "
            "have a prior here. Exchange these layers, or keep them as they are by requires_grad_(False)."
        )
    frozen = [name for name, layer in layers.items() if not all(p.requires_grad for p in layer.parameters())]
    if frozen:
        raise InputError(f"model has linear layers without gradients, {', '.join(frozen[:5])}: call requires_grad_().")


def _require_calls(model: nn.Module, n_inputs: int) -> None:
    """Raises InputError where calls on a few rows show that the model is no function of one row alone."""
    generator, layers = torch.Generator().manual_seed(0), linear_layers(model)
    rows = torch.randn(ROWS_OF_A_LOOK, n_inputs, dtype=torch.float64, generator=generator, device="cpu")
    calls = list[tuple[str, Tensor]]()
    try:
        with hooked(layers, lambda name, inputs, output: calls.append((name, inputs))):
            outputs = model(rows)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"model cannot be called on {n_inputs} columns of numbers in float64: {error}") from error
    if not isinstance(outputs, Tensor) or outputs.shape != (ROWS_OF_A_LOOK, 1):
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(
            f"model returns {found} for {ROWS_OF_A_LOOK} rows: one output, ({ROWS_OF_A_LOOK}, 1), is needed, also "
            "where y has several columns, which share its covariance."
        )
    counts = Counter(name for name, _ in calls)
    wrong = [name for name in layers if counts[name] != 1]
    if wrong or any(inputs.dim() != 2 or len(inputs) != ROWS_OF_A_LOOK for _, inputs in calls):
        raise InputError(
            f"each linear layer must be called once, on one vector a row; {wrong or 'some layer'} is not. gd.fit "
            "trains such models."
        )
    if [name for name, _ in calls] != list(layers):
        raise InputError("model calls its linear layers in another order than they were made in: make them in order.")
    alone = torch.cat([model(row[None]) for row in rows])
    if not bool(((outputs - alone).abs() <= ALIKE * outputs.abs().max()).all()):
        raise InputError("model gives a row other outputs among others than alone: leave out what mixes rows.")
    try:
        linear_columns(model, rows.requires_grad_())
    except RuntimeError as error:
        raise InputError(f"model's outputs have no derivative by each linear layer: {error}") from error
