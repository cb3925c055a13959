"""Problems of other packages as systems."""

from sabotage._sabotage import Sabotage

BRIDGES = (
    Sabotage(
        "pde/bridges/_foreign.py",
        "h[:, axis] ** power / math.factorial(power)",
        "h[:, axis] ** power",
        "pde/test_bridges.py::test_a_problem_of_pina_has_the_rows_of_the_system",
    ),
    Sabotage(
        "pde/bridges/_foreign.py",
        "if g is not None and bool((g != 0.0).any())",
        "if g is not None",
        "pde/test_bridges.py::test_only_the_derivatives_that_an_equation_uses_are_computed",
    ),
    Sabotage(
        "pde/bridges/_deepxde.py",
        "return next((ours for theirs, ours in self._pairs if value is theirs), value)",
        "return value",
        "pde/test_bridges.py::test_an_unknown_of_deepxde_is_found_in_the_equation",
    ),
    Sabotage(
        "pde/bridges/_deepxde.py",
        "placed = (points[:half], points[half:]) if equation.n_rows == half else points",
        "placed = points",
        "pde/test_bridges.py::test_data_of_deepxde_have_the_rows_of_the_system",
    ),
    Sabotage(
        "pde/bridges/_pina.py",
        "points.new_full((len(points),), float(fixed[name]))",
        "points.new_zeros(len(points))",
        "pde/test_bridges.py::test_a_problem_of_pina_has_the_rows_of_the_system",
    ),
)
