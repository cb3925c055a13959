"""1.6: lifts of output paths: as long as the path, closed in the outputs and open in the parameters."""

from itertools import accumulate, pairwise

import numpy as np
import torch
from study import BLUE, GREEN, INK, ORANGE, name_lines, network, panels, save, table

import geodescent as gd
from geodescent.geometry import growth, holonomy, horizontal_lift

CASES = {  # name: data, samples, layers, colour
    "diabetes, m = 6, 10-6-1": ("diabetes", 6, (10, 6, 1), BLUE),
    "wine, m = 12, 13-16-3": ("wine", 4, (13, 16, 3), ORANGE),
    "wine, m = 12, 13-6-3": ("wine", 4, (13, 6, 3), GREEN),
}
SIDES = (1.0, 0.3, 0.1, 0.01, 0.001)
ROUNDS, PIECES = 4, 6  # pieces a side, for the picture


def main() -> None:
    """Lifts a way to the targets, one square round after round, and squares of all sizes."""
    figure, (rounds, squares) = panels("one square of side 1, four times round", "gap after one round")
    for name, (data, n, layers, colour) in CASES.items():
        (inputs, targets), model = table(data, n), network(*layers)
        start = model(inputs).detach()
        way = horizontal_lift(model, inputs, [start, 0.5 * (start + targets), targets])
        first, second = torch.zeros_like(start), torch.zeros_like(start)  # outputs of the first two samples
        first[0, 0] = second[1, 0] = 1.0
        gaps = np.array([holonomy(model, inputs, first, second, side).gap for side in SIDES])
        areas = np.square(SIDES)
        squares.loglog(areas, gaps, "o-", color=colour, markersize=4, label=name)
        slope = np.diff(np.log(gaps[-2:]))[0] / np.diff(np.log(areas[-2:]))[0]
        reached, all_of = growth(model, inputs), gd.SampleMap(model, inputs).n_params
        longer = abs(way.length / way.output_length - 1.0)
        print(
            f"{name}: way to the targets {way.output_length:.4f}, its lift equal to {longer:.0e}; gap ~ "
            f"area^{slope:.4f}; of K = {all_of} directions {reached[0]} horizontal, {reached[1]} with brackets."
        )
        if colour == BLUE:
            sides = [side / PIECES for side in (first, second, -first, -second) for _ in range(PIECES)]
            lifted = horizontal_lift(model, inputs, list(accumulate(sides * ROUNDS, initial=start)))
            walked = np.cumsum([0.0, *(float((b - a).norm()) for a, b in pairwise(lifted.wanted))])
            outputs, parameters = (lifted.outputs - start.ravel()).norm(dim=1), lifted.theta - lifted.theta[0]
            rounds.plot(walked, outputs, color=INK, linewidth=1.0, label="outputs, ‖x − x₀‖")
            rounds.plot(walked, parameters.norm(dim=1), color=colour, label="parameters, ‖θ − θ₀‖")
            print(
                f"{name}: after {ROUNDS} rounds of side 1 the outputs are {float(outputs[-1]):.0e} from their start, "
                f"the parameters {lifted.gap:.3f}."
            )
    squares.loglog(areas, 1.5 * areas, ":", color=INK, label="slope 1")
    rounds.set_xlabel("length walked in output space")
    squares.set_xlabel("area of the square in output space")
    squares.set_ylabel("‖θ_end − θ₀‖")
    squares.minorticks_off()
    rounds.set_ylim(0.0, 1.8)
    name_lines(rounds, loc="upper left", ncols=2)
    name_lines(squares)
    save(figure, __file__)


if __name__ == "__main__":
    main()
