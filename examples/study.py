"""What the studies share: real data, networks, and how their pictures look."""

import itertools
from pathlib import Path

import sklearn.datasets
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from geodescent.app.report import BLUE, FAINT, GREEN, INK, ORANGE

GREY, RED = "#8a929c", "#b3262e"
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)
PAGES = Path(__file__).parents[1] / "docs" / "theory"


def table(name: str, n: int | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`n` samples of a data set inside scikit-learn, drawn by a seed; inputs standardised, pixels from 0 to 1; float64.

    The targets are one-hot rows of classes, or one standardised column for `diabetes`.
    """
    data = getattr(sklearn.datasets, f"load_{name}")()
    drawn = torch.randperm(len(data.data), generator=torch.Generator().manual_seed(seed))[:n]
    inputs, target = torch.as_tensor(data.data).double()[drawn], torch.as_tensor(data.target)[drawn]
    inputs = inputs / 16.0 if name == "digits" else (inputs - inputs.mean(0)) / inputs.std(0)
    if name == "diabetes":
        return inputs, ((target - target.mean()) / target.std())[:, None]
    return inputs, nn.functional.one_hot(target.long()).double()


def network(*sizes: int, act: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    """A multilayer perceptron in float64, at torch's own start of this seed."""
    torch.manual_seed(seed)
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1]).double()


def accuracy(model: nn.Module, inputs: Tensor, one_hot: Tensor) -> float:
    """The share of samples whose largest output is their class's."""
    with torch.no_grad():
        return float((model(inputs).argmax(1) == one_hot.argmax(1)).double().mean())


def panels(*titles: str, height: float = 3.6, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of one panel a title, in rows of the given height."""
    columns = -(-len(titles) // rows)
    figure = Figure(figsize=(4.6 * columns + 0.6, height * rows), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, loc="left", fontsize=10, color=INK, pad=10)
        one.grid(axis="y", which="major", color=FAINT, linewidth=0.7)
        one.tick_params(colors=INK, which="both", length=3, width=0.6)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            one.spines[side].set_color(FAINT)
    return figure, axes


def name_lines(axes: Axes, **place: object) -> None:
    """The legend, without a frame."""
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, **place)


def save(figure: Figure, script: str) -> None:
    """The picture of a script's page: `docs/theory/<script>.png`."""
    PAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PAGES / f"{Path(script).stem}.png")
