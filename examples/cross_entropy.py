"""2.4: cross-entropy as an L² problem; its flows on wine, and digits trained by the straight line and by Adam."""

from collections.abc import Callable

import numpy as np
import torch
from study import COLOURS, GREY, accuracy, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent import costs
from geodescent.geometry import cost_flow

UNTIL = 6.0
TRAINING = 1347  # of 1,797 digits
EPOCHS, BATCH, RATE = 60, 64, 1e-3  # of Adam, torch's default rate
SMOOTHINGS = (0.01, 0.1)
SEEDS = (0, 1)
BINS = 10


def flows(axes) -> None:
    """Cross-entropy over its minimum along three flows to the same outputs."""
    inputs, one_hot = table("wine", 30)
    targets = costs.smoothed(one_hot.argmax(1), 3, 0.1)
    cost, entropy = costs.CrossEntropy(), -float((targets * targets.log()).sum(1).mean())
    for metric, colour in (("euclidean", COLOURS[0]), ("hessian", COLOURS[1])):
        model = network(13, 24, 3)
        sums = model(inputs).detach().sum(1)
        path = cost_flow(model, inputs, targets, cost=cost, metric=metric, until=UNTIL)
        axes.semilogy(path.time, path.cost - entropy, color=colour, label=f"gradient flow, {metric} metric")
        drift = float(np.abs(path.outputs.sum(2) - sums.numpy()).max())
        above = path.cost[-1] - entropy
        print(f"wine, {metric} metric: at τ = {UNTIL:g} {above:.1e} above the minimum; sums moved by {drift:.0e}.")
    model = network(13, 24, 3)
    minimiser = costs.cross_entropy_minimiser(targets, model(inputs).detach().sum(1))
    line = line_costs(model, inputs, minimiser, lambda outputs: cost.value(outputs, targets) - entropy)
    axes.semilogy(*line, color=COLOURS[2], label="straight line to the minimiser x*")
    print(f"wine, straight line: at τ = {UNTIL:g} {line[1][-1]:.1e} above the minimum.")
    axes.set_xlabel("time τ")
    name_lines(axes)


def line_costs(model: nn.Module, inputs: Tensor, minimiser: Tensor, value: Callable[[Tensor], float]):
    """τ and a cost of the outputs on the way to the minimiser."""
    times = np.linspace(0.0, UNTIL, 13)
    values = [value(model(inputs).detach())]
    for step in np.diff(times):
        gd.flow(model, inputs, minimiser, until=float(step))
        values.append(value(model(inputs).detach()))
    return times, values


def started(inputs: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The start of both: the scale of the first layer by leave-one-out."""
    model = network(64, 256, 256, 10, seed=seed)
    gd.initialise(model, inputs, nn.functional.one_hot(labels, 10).double())
    return model


def by_adam(inputs: Tensor, labels: Tensor, smoothing: float, seed: int) -> nn.Module:
    """Ordinary training: cross-entropy in batches."""
    model = started(inputs, labels, seed)
    optimizer, loss = torch.optim.Adam(model.parameters(), RATE), nn.CrossEntropyLoss(label_smoothing=smoothing)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            loss(model(inputs[part]), labels[part]).backward()
            optimizer.step()
    return model


def by_the_line(inputs: Tensor, labels: Tensor, smoothing: float, seed: int) -> nn.Module:
    """The closed-form minimiser on the fibre of the start's sums, fitted as targets."""
    model = started(inputs, labels, seed)
    targets = costs.cross_entropy_minimiser(costs.smoothed(labels, 10, smoothing), model(inputs).detach().sum(1))
    gd.fit(model, inputs, targets, target_cost=1e-4)
    return model


def reliability(outputs: Tensor, labels: Tensor) -> tuple[np.ndarray, float]:
    """Mean confidence and accuracy of each bin, (BINS, 2), and the expected calibration error."""
    confidence, predicted = outputs.softmax(1).max(1)
    right = (predicted == labels).double()
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    rows = [(confidence[bins == b], right[bins == b]) for b in range(BINS)]
    error = sum(abs(float(c.sum() - r.sum())) for c, r in rows) / len(labels)
    return np.array([[float(c.mean()), float(r.mean())] for c, r in rows if len(c) > 3]), error


def digits(axes) -> None:
    """Accuracy, cross-entropy and calibration of held-out digits, the mean over the seeds."""
    inputs, one_hot = table("digits")
    labels, n = one_hot.argmax(1), TRAINING
    axes.plot([0.4, 1.0], [0.4, 1.0], color=GREY, linewidth=0.8)
    runs = [
        ("Adam", by_adam, 0.0),
        *((name, run, e) for e in SMOOTHINGS for name, run in (("Adam", by_adam), ("line", by_the_line))),
    ]
    for colour, (name, train, smoothing) in zip(COLOURS, runs, strict=True):
        scores = list[tuple[float, float, float]]()
        for seed in SEEDS:
            model = train(inputs[:n], labels[:n], smoothing, seed)
            outputs = model(inputs[n:]).detach()
            rows, error = reliability(outputs, labels[n:])
            entropy = float(nn.functional.cross_entropy(outputs, labels[n:]))
            scores.append((accuracy(model, inputs[n:], one_hot[n:]), entropy, error))
        right, entropy, error = np.mean(scores, axis=0)
        style, told = "o-" if name == "line" else "s--", f"{name}, ε = {smoothing:g}"
        axes.plot(*rows.T, style, color=colour, markersize=4, label=told)
        print(
            f"digits held out, {told}: accuracy {right:.4f}, cross-entropy {entropy:.4f}, confidence {error:.3f} off."
        )
    axes.set_xlabel("confidence, held out")
    name_lines(axes)


def main() -> None:
    """Both panels."""
    figure, (left, right) = panels("wine: cross-entropy above its minimum", "digits: accuracy at each confidence")
    flows(left)
    digits(right)
    save(figure, __file__)


if __name__ == "__main__":
    main()
