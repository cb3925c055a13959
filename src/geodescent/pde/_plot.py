"""The picture of a solution: fields, residual and error over the coordinates, and the curve of each term."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.doors import Solution
from geodescent.outputs import ResidualMap
from geodescent.pde._boxes import shortened
from geodescent.pde._network import FieldsModule
from geodescent.pictures import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES, MAP = 401, 101  # Points of a line, and of a side of a map.
COLOURS = ("#1b5e9e", "#d9730d", "#3a8f5c", "#7a4ea0", "#8c6d31", "#5f6b76")
STYLES = ("-", "--", ":", "-.")  # Of the curves: the colours begin anew with the next one.
LINES_OF_LEGEND = 11  # Lines of a legend that fit beside the curves, in font size 9.
PRINTED_LABEL = 32  # Characters of a name in the legend, which leaves two thirds of the width to the curves.
PRINTED_TITLE = 34  # Characters of a title above a picture of 3 inches, in font size 10.
RISES = "The cost may rise on the way from one best point to the next; the best one of all is returned."

Reference = Callable[[Tensor], Tensor]


def plot(solution: Solution, reference: Reference | None = None) -> "Figure":
    """Draws fields, their errors where a reference is given, the first term's residual, and the RMS of all by steps.

        figure = pde.plot(solution, lambda points: torch.sin(points[:, :1]))
        figure.savefig("solution.png")

    Lines over one coordinate, maps over two; of more, the first two are drawn and the others stand in the middle, as
    the title says. Holes and corners of a domain given by points of one's own are left blank.

    Args:
        solution: of a `pde.System`.
        reference: points (N, d) → fields, (N, F), or (N,) for one; where all are NaN nothing is drawn.

    Raises: InputError, for a solution of anything else and for a reference of another shape; ImportError, where
        matplotlib is not installed.
    """
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError:
        raise ImportError("pde.plot draws with matplotlib, which is missing: pip install 'geodescent[app]'.") from None
    if not isinstance(solution, Solution):
        raise InputError(
            f"a {type(solution).__name__} is no solution: pde.plot(solution) draws what gd.fit(system) returned."
        )
    if reference is not None and not callable(reference):
        raise InputError(
            f"reference is a {type(reference).__name__}: a function of points (N, d) is needed, as in "
            "pde.plot(solution, lambda points: torch.sin(points[:, 0]))."
        )
    problem, theta = solution.on_demand.at_solution()
    maps = [block.map for block in problem.blocks]
    first = maps[0]
    if not isinstance(first, ResidualMap) or not isinstance(first.model, FieldsModule):
        raise InputError("pde.plot draws solutions of a pde.System: solution.plot() draws the cost of any other.")
    points, axes_of = _points(first.model)
    with torch.no_grad():
        found: Tensor = first.function.standing_at(first.function.views(theta), lambda: first.model(points))
    panels = _panels(first, problem.blocks[0].name, found, theta, points, reference)
    n_rows = -(-len(panels) // 3)
    figure = pyplot.figure(figsize=(10.5, 2.9 * n_rows + 2.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.9 * n_rows, 2.6))
    if where := _fixed(first.model, len(axes_of)):
        above.suptitle(f"at {where}", fontsize=10, color=INK)
    every = above.subplots(n_rows, 3, squeeze=False)
    for axes, panel in zip(every.flat, panels, strict=False):
        _draw(axes, panel, axes_of, above)
    for axes in list(every.flat)[len(panels) :]:
        axes.set_axis_off()
    _curves(below.subplots(), solution)
    drawn: Figure = figure
    return drawn


def _points(model: FieldsModule) -> tuple[Tensor, list[tuple[str, Any]]]:
    """Points of a grid over the first coordinates, and the name and values of each of these."""
    centre, half = model.centre, model.half_range
    n_axes = min(2, len(model.coordinates))
    n = LINES if n_axes == 1 else MAP
    along = [
        torch.linspace(-1.0, 1.0, n, dtype=centre.dtype, device=centre.device) * half[k] + centre[k]
        for k in range(n_axes)
    ]
    grid = torch.cartesian_prod(*along) if n_axes > 1 else along[0][:, None]
    points = centre.repeat(len(grid), 1)
    points[:, :n_axes] = grid
    return points, [(name, values.cpu().numpy()) for name, values in zip(model.coordinates, along, strict=False)]


def _fixed(model: FieldsModule, n_axes: int) -> str:
    """Where the coordinates stand that are not drawn; empty where all are."""
    fixed = zip(model.coordinates[n_axes:], model.centre[n_axes:].tolist(), strict=True)
    return ", ".join(f"{_label(name, PRINTED_TITLE)} = {value:.3g}" for name, value in fixed)


def _panels(
    first: ResidualMap, term: str, values: Tensor, theta: Tensor, points: Tensor, reference: Reference | None
) -> list[tuple[str, Any, bool]]:
    """(title, values, whether their size is drawn, on a logarithmic scale)."""
    model = first.model
    assert isinstance(model, FieldsModule)
    panels = [(name, values[:, k], False) for k, name in enumerate(model.fields)]
    outside = ~model.domain.shown(points)
    if reference is not None:
        expected = model.as_fields(reference(points), len(points), "reference(points)").to(values)
        outside = outside | expected.isnan().all(1)
        panels += [(f"error of {name}", (values - expected)[:, k].abs(), True) for k, name in enumerate(model.fields)]
    with suppress(InputError):  # where the equation holds at its own points alone
        panels.append((f"residual of {term}", first.on(points)(theta).norm(dim=1), True))
    return [(title, shown.masked_fill(outside, torch.nan).cpu().numpy(), size) for title, shown, size in panels]


def _draw(axes: "Axes", panel: tuple[str, Any, bool], axes_of: list[tuple[str, Any]], figure: Any) -> None:
    title, values, is_size = panel
    tiny = np.finfo(float).eps * 1e-4
    axes.set_title(_label(title, PRINTED_TITLE), loc="left", fontsize=10, color=INK)
    axes.set_xlabel(axes_of[0][0], color=INK)
    if len(axes_of) == 1:
        axes.plot(axes_of[0][1], np.maximum(values, tiny) if is_size else values, color=COLOURS[is_size], linewidth=1.6)
        axes.set_yscale("log" if is_size else "linear")
        axes.grid(color=FAINT, linewidth=0.6)
        return
    (x, y) = axes_of[0][1], axes_of[1][1]
    shown = values.reshape(len(x), len(y)).T
    shown = np.log10(np.maximum(shown, tiny)) if is_size else shown
    image = axes.pcolormesh(x, y, shown, cmap="magma" if is_size else "viridis", shading="gouraud", rasterized=True)
    axes.set_ylabel(axes_of[1][0], color=INK)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    if is_size:
        bar.set_label("log₁₀", color=INK)


def _curves(axes: "Axes", solution: Solution) -> None:
    """The RMS of the residual of each term over the steps, and, where the cost rose between them, what that means."""
    steps, costs = solution.history["step"], solution.history["cost"]
    if (costs[1:] > costs[:-1]).any():
        axes.axvline(float(steps[int(costs.argmin())]), color=FAINT, linewidth=4.0, label="the best, returned")
        axes.set_title(RISES, loc="right", fontsize=9, color=INK)
    curves = solution.history["block_rms"]
    for k, (name, values) in enumerate(curves.items()):
        style, colour = STYLES[k // len(COLOURS) % len(STYLES)], COLOURS[k % len(COLOURS)]
        axes.plot(steps, values, style, color=colour, linewidth=1.5, label=_label(name, PRINTED_LABEL))
    axes.set_yscale("log")
    axes.set_title("RMS of each term", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("accepted step", color=INK)
    axes.locator_params(axis="x", integer=True)
    axes.grid(color=FAINT, linewidth=0.6)
    columns = -(-(len(curves) + 1) // LINES_OF_LEGEND)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.02), ncols=columns)


def _label(name: str, width: int) -> str:
    """A name as matplotlib shows it: it reads formulas between dollars, and leaves out what begins with a line."""
    text = shortened(name, width).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
