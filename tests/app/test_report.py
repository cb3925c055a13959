import io
import re
import struct

import numpy as np
import pytest
from rich.console import Console

import geodescent as gd
from geodescent.app.report import Answer, ProgressBar, draw_fit, draw_flow, png, summary


def made_history(n_steps=6, validation=True):
    steps = np.arange(1.0, n_steps + 1.0)
    return {
        "step": steps,
        "cost": 10.0**-steps,
        "predicted": 0.3 * 10.0**-steps,
        "validation_cost": 0.1 + 1.0 / steps if validation else np.full(n_steps, np.nan),
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
    assert words(figure) == {"measured cost", "linear model's cost C_lin", "validation cost", "target"}
    measured = line_of(figure, "measured cost")
    assert np.array_equal(measured.get_ydata(), np.concatenate([[1.0], history["cost"]]))
    assert np.array_equal(measured.get_xdata(), np.arange(7.0))
    assert np.array_equal(line_of(figure, "linear model's cost C_lin").get_ydata(), history["predicted"])


def test_nothing_is_drawn_of_validation_where_there_was_none():
    figure = draw_fit(made_history(validation=False), cost0=1.0, target_cost=None, title="wine")
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
    history["predicted"] = history["validation_cost"] = history["cost"]
    figure = draw_fit(history, cost0=1.0, target_cost=None, title="wine")
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts)
    assert np.diff(heights).min() > 0.05


def bar_after(*records, target_cost=1e-8, until=None):
    """What is left on the screen: ten columns of a bar, and words."""
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    with ProgressBar("C_lin", target_cost, until, console=console) as bar:
        for record in records:
            bar(record)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return shown.rstrip().split("\r")[-1]


def test_the_bar_shows_step_cost_c_lin_and_validation_cost():
    shown = bar_after(gd.StepRecord(1, 1.0, 1.0, 0.5), gd.StepRecord(212, 2.0, 1.2e-4, 3e-5, validation_cost=0.07))
    assert "step 212" in shown
    assert "measured 1.2e-04" in shown
    assert "C_lin 3.0e-05" in shown
    assert "validation 7.0e-02" in shown


def test_the_bar_is_half_full_when_half_the_digits_are_won():
    first = gd.StepRecord(1, 1.0, 1.0, 0.5)
    assert bar_after(first, gd.StepRecord(2, 2.0, 1e-4, 0.5)).startswith("━━━━━      step 2")
    assert bar_after(first, gd.StepRecord(2, 2.0, 1e-2, 0.5)).startswith("━━╸        step 2")
    assert bar_after(first, gd.StepRecord(2, 2.0, 1e-9, 0.5)).startswith("━━━━━━━━━━ step 2")


def test_the_bar_of_a_flow_without_a_target_follows_the_time():
    shown = bar_after(gd.StepRecord(1, 2.0, 1.0, 0.5), target_cost=None, until=8.0)
    assert shown.startswith("━━╸        step 1")


def test_what_is_not_known_is_not_shown():
    shown = bar_after(gd.StepRecord(0, 0.0, 1.0, float("nan")))
    assert "C_lin" not in shown
    assert "validation" not in shown


@pytest.mark.parametrize("target_cost", [None, 0.0, 5.0])
def test_a_bar_without_a_reachable_target_still_counts(target_cost):
    assert "step 1" in bar_after(gd.StepRecord(1, 1.0, 1.0, 0.5), target_cost=target_cost)


def test_the_window_holds_what_was_measured_and_the_target():
    axes = draw_fit(made_history(), cost0=1.0, target_cost=1e-9, title="wine").axes[0]
    assert axes.get_yscale() == "log" and axes.get_xlim() == (0.0, 6.0) and axes.get_title(loc="left") == "wine"
    assert axes.get_ylim() == pytest.approx((1e-9 / 3.0, 1.1 * 3.0), rel=1e-9, abs=0.0)
    assert [line.get_ydata()[0] for line in axes.lines if len(set(map(float, line.get_ydata()))) == 1] == [1e-9]
    path = made_path(lambda time: np.exp(-2.0 * time))
    assert draw_flow(path, floor=0.0, title="wine").axes[0].get_title(loc="left") == "wine"


def test_the_window_is_as_long_as_the_longest_curve():
    history = made_history()
    history["validation_cost"][3:] = np.nan
    assert draw_fit(history, cost0=1.0, target_cost=None, title="").axes[0].get_xlim() == (0.0, 6.0)


def test_infinite_costs_are_left_out():
    history = made_history()
    history["validation_cost"][2] = np.inf
    figure = draw_fit(history, cost0=1.0, target_cost=None, title="")
    assert np.isfinite(line_of(figure, "validation cost").get_ydata()).all()


def names_at(*heights):
    """Where the names stand of curves that end at these heights of the window, in the order of the heights."""
    low, high = 1e-150 / 3.0, 3e150  # the window, which a measured cost spans before it comes to its end
    ends = [low * (high / low) ** height for height in heights]
    history = {"step": np.arange(1.0, 4.0), "cost": np.array([1e-150, 1e150, ends[0]])}
    for name, end in zip(("predicted", "validation_cost"), [*ends[1:], np.nan], strict=False):
        history[name] = np.full(3, end)
    axes = draw_fit(history, cost0=1.0, target_cost=None, title="").axes[0]
    assert axes.get_ylim() == pytest.approx((low, high), rel=1e-9, abs=0.0)
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    names = ("measured cost", "linear model's cost C_lin", "validation cost")
    return [places[name] for name in names[: len(heights)]]


def test_names_are_moved_as_little_as_keeps_them_apart():
    """Up from the lower one; down again where that would leave the top."""
    assert names_at(0.7, 0.1, 0.4) == pytest.approx([0.7, 0.1, 0.4], abs=1e-9)
    lower, upper = sorted(names_at(0.5, 0.5))
    gap = upper - lower
    assert lower == pytest.approx(0.5, abs=1e-9) and 0.04 < gap < 0.1
    assert names_at(0.5, 0.5 + 0.3 * gap) == pytest.approx([0.5, 0.5 + gap], abs=1e-9)
    top = 0.998
    assert names_at(top, top - 0.3 * gap) == pytest.approx([1.0, 1.0 - gap], abs=1e-9)
    assert names_at(top - 0.3 * gap, top) == pytest.approx([1.0 - gap, 1.0], abs=1e-9)


def test_the_summary_is_rows_of_a_name_and_a_text_of_at_most_80_columns():
    path = "runs/" + "a" * 90
    text = summary([("cost", "0.5 → 1e-13"), ("note", "another note " * 12), ("run", path), ("report", "")])
    rows = text.splitlines()
    assert rows[0] == "cost                    0.5 → 1e-13"
    assert rows[1].startswith("note                    another note") and rows[2].startswith(" " * 24 + "another")
    assert max(len(row) for row in rows if "runs/" not in row) <= 80
    assert "run".ljust(24) + path in rows  # a path is never broken


def test_an_answer_keeps_standard_output_to_one_object(capsys):
    Answer(as_json=True).say("a sentence")
    Answer(as_json=True).give({"cost": float("nan")})
    out, err = capsys.readouterr()
    assert out == '{"cost": null}\n' and err == "a sentence\n"
    Answer(as_json=False).say("a sentence")
    Answer(as_json=False).give({"cost": 1.0})
    out, err = capsys.readouterr()
    assert out == "a sentence\n" and err == ""
    assert Answer(as_json=True).fail("too bad", 3).exit_code == 3
    assert capsys.readouterr() == ('{"error": "too bad"}\n', "error: too bad\n")
