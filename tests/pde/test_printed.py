"""What a prompt shows of systems, terms, points and residuals: short, and within the 80 columns of a terminal."""

import inspect
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent import pde
from geodescent.problem import BlockResidual, ResidualTable

BOX = pde.Box(t=(0.0, 1.0), x=(-1.0, 1.0))
WHERE = torch.zeros(100, 2, dtype=torch.float64)
LONG = "conditions of symmetry on the left side of the wall of the upper channel"


def heat(*more: pde.Term | pde.Total) -> pde.System:
    torch.manual_seed(0)
    terms = [
        pde.Term("heat", lambda u, kappa: u.t - kappa * u.xx, BOX.inside(900)),
        pde.Term("sensors", lambda u: u, torch.rand(100, 2, dtype=torch.float64), target=torch.zeros(100)),
    ]
    return pde.System(pde.mlp(2, [20, 20]), [*terms, *more], coordinates=("t", "x"), unknowns={"kappa": 1.0})


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_a_system_is_printed_with_its_terms() -> None:
    system = heat(pde.Total("mass", lambda u: u, BOX.inside(25), 1.0))
    assert (
        repr(system)
        == str(system)
        == (
            "System of u in t, x, kappa unknown: 502 parameters\n"
            "  heat     900 rows, weight 1\n"
            "  sensors  100 rows, weight 0.01, measured\n"
            "  mass       1 row,  weight 1"
        )
    )


def test_a_system_of_many_long_terms_is_short_all_the_same() -> None:
    sides = [pde.Term(f"{LONG} {k}", lambda u: u, BOX.side(x=1.0).points(5), weight=1234.5678) for k in range(20)]
    names = tuple(f"coordinate_{k}" for k in range(12))
    wide = pde.System(
        pde.mlp(12, [3], 1),
        [pde.Term("a", lambda u: u, torch.rand(5, 12, dtype=torch.float64))],
        coordinates=names,
    )
    text = repr(heat(*sides))
    assert len(text.splitlines()) == 14 and "… and 10 more" in text and widest(text) <= 80
    assert widest(repr(wide)) <= 80 and "coordinate_11" in repr(wide)


def test_a_system_with_more_points_says_so() -> None:
    system = heat()
    system.add_points({"heat": WHERE[:7]})
    assert "907 rows" in repr(system)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (BOX.inside(900), "Points(900 of t, x)"),
        (pde.Term("heat", lambda u: u.t, BOX.inside(900)), "Term('heat', 900 points)"),
        (pde.Term("at", lambda u: u, WHERE[:1], weight=50.0), "Term('at', 1 point, weight 50)"),
        (pde.Term("at", lambda u: u, WHERE, target=WHERE[:, 0]), "Term('at', 100 points, measured)"),
        (pde.Term("ends", lambda u: u[0] - u[1], (WHERE, WHERE)), "Term('ends', 2 times 100 points)"),
        (pde.Term("list", lambda u: u, [[0.0], [1.0]]), "Term('list', 2 points)"),
        (pde.Term("wrong", lambda u: u, BOX), "Term('wrong', points of a Box)"),
        (pde.Term("wrong", lambda u: u, torch.tensor(1.0)), "Term('wrong', one number)"),
        (pde.Term("wrong", lambda u: u, ()), "Term('wrong', no points)"),
        (pde.Total("mass", lambda u: u, WHERE, 2.0), "Total('mass', 100 points, value 2, weight 1)"),
    ],
)
def test_terms_and_points_are_printed_in_a_line(shown: Any, text: str) -> None:
    assert repr(shown) == str(shown) == text


def test_long_names_do_not_make_long_lines() -> None:
    box = pde.Box(**{f"coordinate_{k}": (0.0, 1.0) for k in range(20)})
    shown = [box, box.inside(4), pde.Term(LONG, lambda u: u, (WHERE, WHERE), 1e-10 / 3.0, target=WHERE)]
    shown += [pde.Total(LONG, lambda u: u, WHERE, 1.0 / 3.0, 1e-10 / 3.0)]
    assert all(len(repr(each)) <= 80 for each in shown)
    assert repr(shown[2]).startswith("Term('conditions") and repr(box).endswith("coordinate_19=(0, 1))")


def test_a_table_of_residuals_fits_a_terminal_and_loses_no_name() -> None:
    rows = [
        BlockResidual("walls", 1_000_000, 1234.57, 1.25e-100, 1e-100, 1e-99, 1e-98),
        BlockResidual(LONG, 1, 0.01, 1e-3, 1e-3, 1.0, 2.0),
        BlockResidual("sensors of the inner ring", 100, 0.01, 1e-3, 1e-3),
    ]
    text = str(ResidualTable(rows))
    lines = text.splitlines()
    assert widest(text) <= 80 and repr(ResidualTable(rows)) == text
    assert LONG in lines and lines[lines.index(LONG) + 1].split() == [
        "1",
        "0.01",
        *["1.00e-03"] * 2,
        "1.00e+00",
        "2.00e+00",
    ]
    assert len({len(line) for line in lines if line.endswith(("largest", "+00", "–", "-98"))}) == 1
    assert "is 1e+03 times that on them: the points limit the accuracy" in " ".join(lines)


def test_the_table_of_a_fit_is_printed_as_it_was() -> None:
    lines = str(gd.fit(heat(), max_steps=1, initialise=False).residuals()).splitlines()
    assert lines[0].split() == ["term", "rows", "weight", "RMS", "largest", "fresh", "RMS", "fresh", "largest"]
    assert lines[1].startswith("heat      900       1  ") and lines[2].startswith("sensors   100    0.01  ")


@pytest.mark.parametrize("made", [pde.Term, pde.Total, pde.System])
def test_a_signature_is_short_enough_to_be_read(made: type) -> None:
    assert max(len(str(parameter)) for parameter in inspect.signature(made).parameters.values()) < 100
    hints = get_type_hints(pde.Term)
    assert Tensor in hints["target"].__args__ and hints["weights"] == hints["target"]
