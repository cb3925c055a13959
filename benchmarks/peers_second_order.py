"""Peers that use curvature, in torch and SciPy; and geodescent itself, with its defaults."""

import contextlib
import io
import logging
import math

import numpy as np
import pypose
import torch
from cases import Task
from peers_first_order import cost
from recorder import Recorder
from scipy.optimize import OptimizeResult, least_squares
from torch import Tensor
from torch.func import functional_call, jacrev, vmap
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch_levenberg_marquardt.damping import StandardDampingStrategy
from torch_levenberg_marquardt.training import LevenbergMarquardtModule

import geodescent as gd

PATIENCE = 30  # equal costs in a row after which a method that rejects its own steps is taken to have stopped
SLICE_BYTES = 1 << 30  # torch-levenberg-marquardt may form its Jacobian in parts of this size


def ours(task: Task, recorder: Recorder, *, initialise: bool) -> None:
    """`gd.initialise`, where asked for and there, then `gd.fit`: no argument but the target and the seconds.

    Noisy cases have no target: there the fit draws a fifth of its data for validation and ends by their cost.
    """
    if initialise and "initialise" in gd.__all__:
        recorder.extra["initialised"] = str(gd.initialise(task.model, task.inputs, task.targets))
        recorder.extra["initialise_seconds"] = recorder.elapsed()
    target = recorder.targets[-1] if recorder.targets else None
    solution = gd.fit(
        task.model,
        task.inputs,
        task.targets,
        target_cost=target,
        max_seconds=max(recorder.budget - recorder.elapsed(), 0.0) if recorder.budget else None,
        stop="cost" if recorder.targets else "validation",
        max_steps=500 if recorder.budget else 2,  # without a budget it is the warm-up
        callback=lambda record: noted(recorder, record.cost),
    )
    recorder.result = solution.result.name
    recorder.extra["stats"] = {key: str(value) for key, value in solution.stats.items()}


def noted(recorder: Recorder, value: float) -> None:
    """Notes a cost; the run's end is left to the method."""
    recorder.note(value)


def lbfgs(task: Task, recorder: Recorder, *, history: int, inner: int) -> None:
    """torch.optim.LBFGS with strong Wolfe conditions; every evaluation of the cost is noted."""
    recorder.patience = 3 * inner
    optimizer = torch.optim.LBFGS(
        task.model.parameters(),
        max_iter=inner,
        history_size=history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cost(task.model, task.inputs, task.targets)
        loss.backward()
        recorder.note(loss.item())
        return loss

    while recorder.result == "running":
        optimizer.step(closure)


def torch_lm(task: Task, recorder: Recorder, *, solve_method: str, damping: float) -> None:
    """torch-levenberg-marquardt, full batch; its Jacobian in slices where it would take more than a gigabyte."""
    logging.getLogger("torch_levenberg_marquardt").setLevel(logging.ERROR)
    recorder.patience = PATIENCE
    samples, outputs = task.targets.shape
    row_bytes = 8 * outputs * sum(p.numel() for p in task.model.parameters())
    stepper = LevenbergMarquardtModule(
        task.model,
        solve_method=solve_method,
        damping_strategy=StandardDampingStrategy(starting_value=damping, min_value=1e-16),
        max_batch_size=max(SLICE_BYTES // row_bytes, 1) if samples * row_bytes > SLICE_BYTES else None,
    )
    over = False
    while not over:
        _, loss, stop, _ = stepper.training_step(task.inputs, task.targets)
        over = recorder.note(loss.item() * outputs / 2) or (stop and recorder.over("damping at its bound"))


def pypose_lm(task: Task, recorder: Recorder, *, strategy: str) -> None:
    """pypose.optim.LM with its default solver; what it prints when that fails is dropped, and the run stalls."""
    recorder.patience = PATIENCE
    rule = getattr(pypose.optim.strategy, strategy)()
    optimizer = pypose.optim.LM(task.model, strategy=rule, min=1e-16)
    over = False
    while not over:
        with contextlib.redirect_stdout(io.StringIO()):
            loss = optimizer.step(task.inputs, task.targets)
        over = recorder.note(loss.item() / (2 * len(task.inputs)))


def scipy_least_squares(task: Task, recorder: Recorder, *, tr_solver: str) -> None:
    """scipy.optimize.least_squares, trust-region reflective, the Jacobian by torch.func; tolerances at rounding."""
    parameters = {name: p.detach() for name, p in task.model.named_parameters()}
    theta0 = parameters_to_vector(task.model.parameters()).detach()

    def residuals(theta: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            out = functional_call(task.model, unflatten(parameters, torch.as_tensor(theta)), (task.inputs,))
            return (out - task.targets).flatten().numpy()

    def jacobian(theta: np.ndarray) -> np.ndarray:
        def one(flat: Tensor, sample: Tensor) -> Tensor:
            return functional_call(task.model, unflatten(parameters, flat), (sample[None],))[0]

        rows = vmap(jacrev(one), in_dims=(None, 0))(torch.as_tensor(theta), task.inputs)
        return rows.flatten(0, 1).detach().numpy()

    def callback(intermediate_result: OptimizeResult) -> None:
        if recorder.note(float(intermediate_result.cost) / len(task.inputs)):
            raise StopIteration

    found = least_squares(
        residuals,
        theta0.numpy(),
        jacobian,
        tr_solver=tr_solver,
        ftol=None,
        gtol=None,
        xtol=1e-15,
        max_nfev=10**9,
        callback=callback,
    )
    vector_to_parameters(torch.as_tensor(found.x, dtype=theta0.dtype), task.model.parameters())
    recorder.over(found.message)


def unflatten(like: dict[str, Tensor], theta: Tensor) -> dict[str, Tensor]:
    """A flat vector as the tensors of these names and shapes."""
    parts = theta.split([math.prod(p.shape) for p in like.values()])
    return {name: part.view(p.shape) for (name, p), part in zip(like.items(), parts, strict=True)}
