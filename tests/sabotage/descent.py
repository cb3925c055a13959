"""Walks, controls, stages and the loop."""

from sabotage._sabotage import Sabotage

NATURAL = "descent/_natural.py"
MODEST = "descent/test_natural.py::test_away_from_the_best_point_a_step_aims_no_lower_than_a_share_of_the_cost"
TAKEN = "descent/test_natural.py::test_what_is_taken_at_the_first_damping"

DESCENT = (
    Sabotage(
        "descent/_polish.py",
        "        del here\n",
        "",
        "doors/test_planned_memory.py::test_no_linearisation_is_held_beside_the_next_one",
    ),
    Sabotage(
        "descent/_descend.py",
        "del played, jacobian  #",
        "pass  #",
        "doors/test_planned_memory.py::test_no_linearisation_is_held_beside_the_next_one",
    ),
    # walks
    Sabotage(
        "descent/_walk.py",
        "Displacement(self.step_size * lifted.velocity)",
        "Displacement(lifted.velocity)",
        "theorems/test_steps.py::test_1_8_an_euler_step_shrinks_the_residual",
    ),
    Sabotage(
        "descent/_walk.py",
        "Displacement(self.step_size * lifted.velocity)",
        "Displacement(0.5 * self.step_size * lifted.velocity)",
        "theorems/test_steps.py::test_1_8_the_full_step_is_gauss_newton",
    ),
    Sabotage(
        "descent/_walk.py",
        "h * velocity - (0.5 * h * h) * bend",
        "h * velocity - (h * h) * bend",
        "descent/test_walks.py::test_the_geodesic_step_is_of_third_order_and_euler_of_second",
    ),
    # natural control
    Sabotage("descent/_control.py", "GUARD = 30.0", "GUARD = 3e6", TAKEN),
    Sabotage(NATURAL, "RESOLVED_BENDS = 2.0", "RESOLVED_BENDS = 2e6", TAKEN),
    Sabotage(NATURAL, "CLEARLY_LOWER = 0.25", "CLEARLY_LOWER = 0.0", TAKEN),
    Sabotage(NATURAL, "NEVER_NOISE = 0.03", "NEVER_NOISE = 0.0", TAKEN),
    Sabotage(NATURAL, "LARGEST_BEND = 1.0", "LARGEST_BEND = 10.0", TAKEN),
    Sabotage(
        NATURAL,
        "fall = min(1.0, max(LEAST_FACTOR_ON, relative / SHORT_CORRECTION))",
        "fall = 1.0",
        "descent/test_natural.py::test_a_short_correction_lowers_the_next_damping",
    ),
    Sabotage(
        NATURAL,
        "correction = here.lift(damped, linear - residual, ROUGH).velocity",
        "correction = here.lift(damped, -residual, ROUGH).velocity",
        "descent/test_natural.py::test_chord_corrections_bring_the_residual_to_the_linear_model",
    ),
    Sabotage(
        NATURAL,
        "self.share * here.cost / levels.reference * here.total_square if early else 0.0",
        "0.0",
        "descent/test_natural.py::test_above_the_patience_the_damping_has_a_floor",
    ),
    Sabotage(NATURAL, "AMBITION = 1e-6", "AMBITION = 1e-12", MODEST),
    Sabotage(NATURAL, "lowest if here.cost <= levels.best else", "lowest if True else", MODEST),
    Sabotage(NATURAL, "next_damping=min(trial.next_damping, between)", "next_damping=trial.next_damping", MODEST),
    Sabotage(
        "descent/_planned.py",
        "below=VALLEY_OF_EQUATIONS if lift.for_exact else VALLEY",
        "below=VALLEY",
        "descent/test_stages.py::test_equations_leave_the_opening_early_and_factorise_larger_matrices",
    ),
    # the gain ratio
    Sabotage(
        "descent/_gain_ratio.py",
        "damping, rise, near = damping * rise, RISE_AGAIN * rise, tried.following",
        "damping, rise, near = damping * rise, rise, tried.following",
        "descent/test_best_fraction.py::test_refusals_in_a_row_raise_the_damping_ever_faster",
    ),
    Sabotage(
        "descent/_gain_ratio.py",
        "1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 3",
        "1.0 - (2.0 * min(ratio, 1.0) - 1.0) ** 2",
        "descent/test_gain_ratio.py::test_the_damping_follows_nielsens_rule",
    ),
    Sabotage(
        "descent/_gain_ratio.py",
        "best.damping * self.rise, LESS * _fall",
        "best.damping * self.rise, MORE * _fall",
        "descent/test_best_fraction.py::test_the_next_solve_is_content_with_what_the_last_step_bears_out",
    ),
    Sabotage(
        "descent/_control.py",
        "return (cost - self.cost) / fall if",
        "return 0.5 * (cost - self.cost) / fall if",
        "theorems/test_steps.py::test_1_8_the_recorded_gain_is_the_fall_over_the_predicted_fall",
    ),
    Sabotage(
        "descent/_control.py",
        "return self.value / self.total_square * here.total_square",
        "return self.value",
        "descent/test_damping.py::test_at_another_point_the_damping_has_the_same_share_of_the_rows",
    ),
    # batches
    Sabotage(
        "descent/_spring.py",
        "1.0 - self.momentum ** (2 * count)",
        "1.0 - self.momentum ** count",
        "problem/test_loader.py::test_one_step_minimises_the_proximal_objective",
    ),
    # stages
    Sabotage(
        "descent/_stages.py",
        "return state.cost < PROGRESS * state.best.own_cost or is_idle(state, PART_PATIENCE)",
        "return is_idle(state, PART_PATIENCE)",
        "descent/test_stages.py::test_a_part_is_left_where_it_is_overfitted",
    ),
    Sabotage(
        "descent/_stages.py",
        "return state.cost < PROGRESS * state.best.own_cost or is_idle(state, PART_PATIENCE)",
        "return state.cost < PROGRESS * state.best.own_cost",
        "descent/test_stages.py::test_a_part_is_left_where_all_samples_come_down_no_more",
    ),
    Sabotage(
        "descent/_stages.py",
        "state.cost <= self.below * state.reference or state.stage.work",
        "state.stage.work",
        "descent/test_stages.py::test_the_opening_ends_in_the_valley_or_when_it_was_long",
    ),
    Sabotage(
        "descent/_stages.py",
        "return sum(rule.stages for rule in self.leave if rule.is_over(here, state))",
        "return max((rule.stages for rule in self.leave if rule.is_over(here, state)), default=0)",
        "descent/test_stages.py::test_rules_that_hold_add_up",
    ),
    # the loop
    Sabotage(
        "descent/_stopping.py",
        "ROUNDING_NOISE = 10.0",
        "ROUNDING_NOISE = 1000.0",
        "descent/test_stages.py::test_a_run_without_a_step_ends_by_what_was_promised",
    ),
    Sabotage(
        "descent/_stopping.py",
        "AT_FLOOR = 4.0",
        "AT_FLOOR = 400.0",
        "doors/test_fit.py::test_four_rounding_floors_have_arrived",
    ),
    Sabotage(
        "descent/_control.py",
        "STATIONARY = 1e-12",
        "STATIONARY = 1e-30",
        "descent/test_stages.py::test_a_run_without_a_step_ends_by_what_was_promised",
    ),
    Sabotage(
        "descent/_stopping.py",
        "    if not math.isfinite(here.total_square):",
        "    if here.total_square > 0.0:",
        "theorems/test_few_parameters.py::test_1_4_equilibria_have_a_normal_residual_and_cost_above_zero",
    ),
    Sabotage(
        "descent/_round.py",
        "else may_be_rounding(problem, known, state.reference)",
        "else False",
        "descent/test_stages.py::test_the_floor_is_of_no_use_before_costs_are_near_it",
    ),
    Sabotage(
        "problem/_rounding.py",
        "    stored = _square(problem, eps * problem.target) / (24.0",
        "    stored = _square(problem, eps * problem.target) / (12.0",
        "doors/test_beginnings.py::test_costs_may_be_rounding_below_the_root_of_eps_or_where_targets_lie_far_away",
    ),
    Sabotage(
        "metric/_end_layers.py",
        "if calls[name] == 1)",
        "if calls[name] >= 1)",
        "doors/test_beginnings.py::test_a_layer_that_is_called_on_the_samples_has_their_units_and_others_those_of_their_calls",
    ),
    Sabotage(
        "descent/_round.py",
        "returns=state.returns if known > PROGRESS * state.best.cost else 0)",
        "returns=state.returns)",
        "descent/test_returns.py::test_returns_are_counted_anew_after_progress",
    ),
    Sabotage(
        "descent/_round.py",
        "better = known is not None and known < state.best.cost",
        "better = known is not None",
        "descent/test_natural.py::test_the_path_may_rise_and_the_best_point_is_kept",
    ),
    Sabotage(
        "descent/_round.py",
        "> stage.least_fall * here.cost:",
        "> 0.0:",
        "descent/test_returns.py::test_a_step_that_promises_nothing_is_not_taken",
    ),
    Sabotage(
        "descent/_planned.py",
        "ends_without_step=True",
        "ends_without_step=False",
        "pde/test_exact_values.py::test_values_with_errors_keep_their_small_weight",
    ),
    Sabotage(
        "problem/_exact_values.py",
        "block.weight < VALUES_WEIGHT]",
        "block.weight > VALUES_WEIGHT]",
        "pde/test_exact_values.py::test_only_measured_values_of_less_weight_are_raised",
    ),
    Sabotage(
        "descent/_descend.py",
        "state = _settled(stages, state, stopping)",
        "pass",
        "problem/test_loader.py::test_a_run_that_ends_within_a_pass_keeps_its_last_point",
    ),
    # any units
    Sabotage(
        "descent/_stopping.py",
        "values > max(m, k) * torch.finfo(here.theta.dtype).eps * values[0]",
        "values > 0.0",
        "descent/test_units.py::test_the_minimum_of_a_linear_problem_of_lost_rank_is_stationary",
    ),
    Sabotage(
        "descent/_polish.py",
        "MOST = 60",
        "MOST = 0",
        "descent/test_units.py::test_the_last_digits_of_theta_are_those_of_the_minimum",
    ),
    Sabotage(
        "descent/_separated.py",
        "-self.solve(self.others @ velocity[~self.linear])",
        "self.solve(self.others @ velocity[~self.linear])",
        "descent/test_separated.py::test_steps_see_what_the_linear_parameters_leave",
    ),
    Sabotage(
        "descent/_separated.py",
        "rest = torch.where(rest.norm(dim=0) > rounding, rest, 0.0)",
        "rest = torch.where(rest.norm(dim=0) > 0.0, rest, 0.0)",
        "descent/test_separated.py::test_a_parameter_that_the_linear_ones_make_up_for_is_left_alone",
    ),
    Sabotage(
        "descent/_separated.py",
        "LINEAR = 1e-13",
        "LINEAR = 10.0",
        "descent/test_separated.py::test_what_enters_linearly_is_found",
    ),
    Sabotage(
        "descent/_walk.py",
        "0.5 * here.length(bend)",
        "0.5 * float(bend.norm())",
        "descent/test_units.py::test_a_formula_in_other_units_is_fitted_alike",
    ),
    Sabotage(
        "descent/_state.py",
        '"metric": state.metric.diagonal, ',
        "",
        "descent/test_units.py::test_a_run_resumed_in_its_metric_is_the_uninterrupted_one",
    ),
    Sabotage(
        "metric/_metric.py",
        "self.diagonal.maximum(here)",
        "here",
        "metric/test_metric.py::test_the_largest_square_on_the_path_counts",
    ),
    Sabotage(
        "metric/_metric.py",
        "torch.where(self.diagonal > 0.0, self.diagonal, 1.0)",
        "self.diagonal",
        "metric/test_metric.py::test_a_column_of_zeros_has_no_unit_yet",
    ),
    Sabotage(
        "metric/_units.py",
        "0.5 * (rms.log10() + largest.log10())",
        "rms.log10()",
        "metric/test_units.py::test_the_unit_lies_between_the_usual_and_the_largest_value",
    ),
    Sabotage(
        "metric/_layer_units.py",
        "metric[where] /= self.target**2",
        "metric[where] /= self.target",
        "metric/test_metric.py::test_a_network_has_the_units_of_its_columns_and_targets",
    ),
)
