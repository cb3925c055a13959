"""Systems of equations: points with their weights, terms, and what their certificate names."""

from sabotage._sabotage import Sabotage

BOXES = "pde/test_boxes.py"
START = "pde/test_start.py"
CONFLICTS = (
    "certificate/test_equations.py::test_conditions_that_contradict_each_other_are_named_with_what_they_cost_at_least"
)

PDE = (
    Sabotage(
        "pde/_boxes.py",
        "torch.from_numpy(w * n / 2.0)",
        "torch.ones_like(torch.from_numpy(w))",
        f"{BOXES}::test_gauss_points_integrate_polynomials_exactly",
    ),
    Sabotage(
        "pde/_boxes.py",
        "density = strength * torch.cosh(strength * v) / math.sinh(strength)",
        "density = torch.cosh(strength * v) / math.sinh(strength)",
        f"{BOXES}::test_crowded_points_lie_closer_there_and_integrate_still",
    ),
    Sabotage(
        "pde/_boxes.py",
        "shares = [p.weights * part.volume / volume * len(self.parts)",
        "shares = [p.weights * len(self.parts)",
        f"{BOXES}::test_sides_have_as_many_points_each_and_weights_by_their_length",
    ),
    Sabotage(
        "pde/_equations.py",
        "return self.placed.volume / len(one) * weights",
        "return weights / len(one)",
        "outputs/test_every_map.py::test_outputs_and_derivative_are_those_of_autograd",
    ),
    Sabotage(
        "pde/_equations.py",
        "        if not _same(part, rows[order]):",
        "        if not _same(part, part):",
        "pde/test_wrong_systems.py::test_a_wrong_system_has_one_sentence_and_its_way_out_works",
    ),
    Sabotage(
        "pde/_domain.py",
        "turned = -(directions",
        "turned = (directions",
        "pde/test_pictures.py::test_points_of_uneven_spacing_are_told_from_holes",
    ),
    Sabotage(
        "pde/_domain.py",
        "return covered if bool(covered.any()) else torch.ones_like(covered)",
        "return covered",
        "pde/test_pictures.py::test_where_nothing_is_covered_everything_is_shown",
    ),
    Sabotage(
        "pde/_refine.py",
        "remaining / (rounds - number)",
        "remaining / rounds",
        "pde/test_doors.py::test_time_that_a_round_leaves_over_goes_to_later_ones",
    ),
    Sabotage(
        "pde/_network.py",
        "low + (share - torch.floor(share)) * self._periodic[name]",
        "low + share * self._periodic[name]",
        "certificate/test_equations.py::test_conditions_one_period_apart_are_the_same",
    ),
    Sabotage(
        "pde/_left_out.py",
        "rest, apart = others @ residual, others.diagonal()",
        "rest, apart = others @ residual, torch.ones_like(residual)",
        f"{START}::test_what_is_left_out_is_that_of_refits",
    ),
    Sabotage(
        "pde/_left_out.py",
        "1.0 - torch.linalg.vector_norm(half, dim=0).square()",
        "1.0 + torch.linalg.vector_norm(half, dim=0).square()",
        f"{START}::test_what_is_left_out_is_that_of_refits",
    ),
    Sabotage(
        "pde/_left_out.py",
        "(places * (n / k)).long()",
        "places.long()",
        f"{START}::test_points_are_spread_over_all_of_them",
    ),
    Sabotage(
        "pde/_system.py",
        "block.target[which], some.weights, block.weight)",
        "block.target[: len(which)], some.weights, block.weight)",
        f"{START}::test_a_start_is_judged_by_some_points_of_every_term",
    ),
    Sabotage(
        "pde/_start.py",
        "while best.left_out < most and COMMON[0]",
        "while COMMON[0]",
        f"{START}::test_a_walk_that_cannot_win_ends",
    ),
    Sabotage(
        "pde/_start.py",
        "and by_all_rows(best) < limit",
        "",
        f"{START}::test_what_is_about_to_be_chosen_is_judged_by_all_rows",
    ),
    Sabotage(
        "pde/_start.py",
        "best.left_out < chosen.left_out / ENVELOPE",
        "best.left_out < chosen.left_out / ENVELOPE**9",
        "pde/test_envelope.py::test_it_goes_against_what_the_built_in_factor_does",
    ),
    Sabotage(
        "pde/_spelling.py",
        "if way and order in (None, len(way))]",
        "if way]",
        "pde/test_wrong_systems.py::test_a_name_that_is_of_no_derivative_has_no_hint",
    ),
    Sabotage(
        "problem/_estimates.py",
        "by_data = self.scale[self.data] * response[:n][self.data]",
        "by_data = response[:n][self.data]",
        "problem/test_estimates.py::test_the_standard_error_is_how_far_errors_of_the_data_move_the_solution",
    ),
    Sabotage(
        "problem/_estimates.py",
        "freedom = float(len(plain) - factors[0][:n][data].square().sum())",
        "freedom = float(len(plain))",
        "problem/test_estimates.py::test_the_standard_error_is_how_far_errors_of_the_data_move_the_solution",
    ),
    Sabotage(
        "problem/_estimates.py",
        "error = math.sqrt(self.variance * (row_dot(by_data, by_data) + of_prior))",
        "error = math.sqrt(self.variance * row_dot(by_data, by_data))",
        "problem/test_estimates.py::test_weights_of_a_network_are_known_to_their_size",
    ),
    Sabotage(
        "problem/_estimates.py",
        "> 1.0 - NO_PART",
        "> 0.0",
        "problem/test_estimates.py::test_coefficients_that_nothing_tells_apart_have_no_finite_error",
    ),
    Sabotage("problem/_conditions.py", "row.weight * row.factor**2", "row.weight * row.factor", CONFLICTS),
    Sabotage(
        "problem/_conditions.py",
        "(s * (o - mean) ** 2 for s, o in zip(shares, off, strict=True)) / (2.0 * problem.n_samples)",
        "(s * (o - mean) ** 2 for s, o in zip(shares, off, strict=True)) / problem.n_samples",
        CONFLICTS,
    ),
    Sabotage(
        "certificate/_equation_causes.py",
        "unit[entries][:, entries] - half.T @ half",
        "unit[entries][:, entries]",
        "certificate/test_equations.py::test_a_coefficient_for_every_value_of_which_there_are_fields_is_named",
    ),
    Sabotage(
        "certificate/_equation_causes.py",
        "lost = vectors[:, values < FELT**2]",
        "lost = vectors[:, values > FELT**2]",
        "certificate/test_equations.py::test_a_coefficient_that_data_determine_is_left_in_peace",
    ),
    Sabotage(
        "certificate/_equation_causes.py",
        "plain = torch.where(scale > 0.0, squares / scale, 0.0)",
        "plain = squares",
        "certificate/test_equations.py::test_a_term_of_a_weight_that_is_lost_in_rounding_is_named",
    ),
)
