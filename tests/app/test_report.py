import io
import struct
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from geodescent.app.report.curves import _spread, draw_fit, draw_flow, png
from geodescent.app.report.progress import ProgressBar


def made_history(n_steps=6, held_out=True):
    steps = np.arange(1.0, n_steps + 1.0)
    return {
        "step": steps,
        "cost": 10.0**-steps,
        "predicted": 0.3 * 10.0**-steps,
        "held_out": 0.1 + 1.0 / steps if held_out else np.full(n_steps, np.nan),
    }


def made_path(cost, *, lost=0.0):
    time = np.linspace(0.0, 3.0, 8)
    return {
        "time": time,
        "cost": cost(time) * 1.1,
        "predicted_cost": cost(time),
        "line_deviation": lost + 1e-9 * time,
        "line_deviation_lost": np.full(8, lost),
    }


def words(figure, panel=0):
    return {text.get_text() for text in figure.axes[panel].texts}


def line_of(figure, colour_of, panel=0):
    axes = figure.axes[panel]
    colour = next(text.get_color() for text in axes.texts if text.get_text() == colour_of)
    return next(line for line in axes.lines if line.get_color() == colour)


def test_the_picture_of_a_fit_shows_the_history_under_its_names():
    history = made_history()
    figure = draw_fit(history, cost0=1.0, target_cost=1e-6, title="wine")
    assert words(figure) == {"measured cost", "linear model's cost C_lin", "held-out cost", "target"}
    measured = line_of(figure, "measured cost")
    assert np.array_equal(measured.get_ydata(), np.concatenate([[1.0], history["cost"]]))
    assert np.array_equal(measured.get_xdata(), np.arange(7.0))
    assert np.array_equal(line_of(figure, "linear model's cost C_lin").get_ydata(), history["predicted"])


def test_nothing_is_drawn_of_samples_that_were_not_held_out():
    figure = draw_fit(made_history(held_out=False), cost0=1.0, target_cost=None, title="wine")
    assert words(figure) == {"measured cost", "linear model's cost C_lin"}


def test_the_picture_of_a_flow_shows_measured_and_predicted_cost():
    path = made_path(lambda time: np.exp(-2.0 * time))
    figure = draw_flow(path, floor=0.0, title="wine")
    assert words(figure) == {"measured cost", "predicted cost"}
    assert np.array_equal(line_of(figure, "predicted cost").get_ydata(), path["predicted_cost"])
    assert np.array_equal(line_of(figure, "measured cost").get_ydata(), path["cost"])
    assert figure.axes[1].get_xlabel().startswith("time τ")


def test_below_it_is_how_far_the_outputs_are_from_the_line():
    full = draw_flow(made_path(lambda time: np.exp(-2.0 * time)), floor=0.0, title="wine")
    assert words(full, 1) == {"off the line"}  # nothing is lost
    path = made_path(lambda time: 0.2 + np.exp(-2.0 * time), lost=0.3)
    figure = draw_flow(path, floor=0.2, title="wine")
    assert words(figure, 1) == {"off the line", "lost with the rank"}
    assert np.array_equal(line_of(figure, "off the line", 1).get_ydata(), path["line_deviation"])
    assert np.array_equal(line_of(figure, "lost with the rank", 1).get_ydata(), path["line_deviation_lost"])


def test_a_predicted_cost_with_a_floor_is_named_so():
    path = made_path(lambda time: 0.2 + np.exp(-2.0 * time))
    assert "predicted cost, floor 2.0e-01" in words(draw_flow(path, floor=0.2, title="wine"))


@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_a_run_of_few_steps_has_a_picture_too(n_steps):
    content = png(draw_fit(made_history(n_steps), cost0=1.0, target_cost=1e-12, title="wine"))
    assert content.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", content[16:24])) > 500


def test_costs_a_log_axis_cannot_show_are_left_out():
    history = made_history()
    history["predicted"][2:] = [0.0, np.nan, np.inf, 1e-40]
    history["cost"][-1] = 0.0
    figure = draw_fit(history, cost0=1.0, target_cost=None, title="wine")
    assert line_of(figure, "measured cost").get_ydata().min() > 0.0
    assert figure.axes[0].get_ylim()[0] > 1e-6  # C_lin = 1e-40 does not flatten the measured cost
    assert png(figure)


def test_names_at_the_ends_never_overlap():
    history = made_history()
    history["predicted"] = history["held_out"] = history["cost"]
    figure = draw_fit(history, cost0=1.0, target_cost=None, title="wine")
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts)
    assert np.diff(heights).min() > 0.05


@dataclass(frozen=True)
class StepRecord:
    step: int
    time: float
    cost: float
    predicted: float
    held_out: float | None


def bar_after(*records, target_cost=1e-8):
    screen = io.StringIO()
    with ProgressBar("C_lin", target_cost, console=Console(file=screen, width=80)) as bar:
        for record in records:
            bar(record)
    return screen.getvalue()


def test_the_bar_shows_step_cost_c_lin_and_held_out_cost():
    shown = bar_after(StepRecord(1, 1.0, 1.0, 0.5, None), StepRecord(212, 2.0, 1.2e-4, 3e-5, 0.07))
    assert "step 212" in shown
    assert "measured 1.2e-04" in shown
    assert "C_lin 3.0e-05" in shown
    assert "held-out 7.0e-02" in shown


def test_the_bar_is_half_full_when_half_the_digits_are_won():
    bar = ProgressBar("C_lin", 1e-8, console=Console(file=io.StringIO()))
    with bar:
        bar(StepRecord(1, 1.0, 1.0, 0.5, None))
        bar(StepRecord(2, 2.0, 1e-4, 0.5, None))
        assert bar._bar.tasks[0].completed == pytest.approx(0.5)


def test_the_bar_of_a_flow_without_a_target_follows_the_time():
    with ProgressBar("predicted", until=8.0, console=Console(file=io.StringIO())) as bar:
        bar(StepRecord(1, 2.0, 1.0, 0.5, None))
        assert bar._bar.tasks[0].completed == pytest.approx(0.25)


def test_what_is_not_known_is_not_shown():
    shown = bar_after(StepRecord(0, 0.0, 1.0, float("nan"), None))
    assert "C_lin" not in shown
    assert "held-out" not in shown


@pytest.mark.parametrize("target_cost", [None, 0.0, 5.0])
def test_a_bar_without_a_reachable_target_still_counts(target_cost):
    assert "step 1" in bar_after(StepRecord(1, 1.0, 1.0, 0.5, None), target_cost=target_cost)


def test_the_window_holds_what_was_measured_and_the_target():
    axes = draw_fit(made_history(), cost0=1.0, target_cost=1e-9, title="wine").axes[0]
    assert axes.get_yscale() == "log" and axes.get_xlim() == (0.0, 6.0) and axes.get_title(loc="left") == "wine"
    assert axes.get_ylim() == pytest.approx((1e-9 / 3.0, 1.1 * 3.0), rel=1e-9, abs=0.0)
    assert [line.get_ydata()[0] for line in axes.lines if len(set(map(float, line.get_ydata()))) == 1] == [1e-9]
    path = made_path(lambda time: np.exp(-2.0 * time))
    assert draw_flow(path, floor=0.0, title="wine").axes[0].get_title(loc="left") == "wine"


def test_the_window_is_as_long_as_the_longest_curve():
    history = made_history()
    history["held_out"][3:] = np.nan
    assert draw_fit(history, cost0=1.0, target_cost=None, title="").axes[0].get_xlim() == (0.0, 6.0)


def test_infinite_costs_are_left_out():
    history = made_history()
    history["held_out"][2] = np.inf
    figure = draw_fit(history, cost0=1.0, target_cost=None, title="")
    assert np.isfinite(line_of(figure, "held-out cost").get_ydata()).all()


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.5, 0.1], [0.5, 0.1]),
        ([0.5, 0.5], [0.5, 0.6]),
        ([0.95, 1.0], [0.9, 1.0]),
        ([1.0, 0.95], [1.0, 0.9]),
        ([], []),
    ],
)
def test_names_are_moved_as_little_as_keeps_them_apart(heights, placed):
    assert _spread(heights, gap=0.1) == pytest.approx(placed)
