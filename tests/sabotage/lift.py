"""How D⁺ is applied, and which route is planned."""

from sabotage._sabotage import Sabotage

UNDAMPED = (
    "lift/_gram_lift.py",
    "return Lifted(metric.leave(solution), jacobian.mv(solution) - v, self.factor.rank",
)
LONGER = UNDAMPED[1].replace("leave(solution)", "leave(1.05 * solution)")
NOT_HORIZONTAL = UNDAMPED[1].replace("leave(solution)", "leave(solution + 1e-3 * solution.flip(0))")
HALF_THE_DAMPING = ("factor(prepared.product, damping=damping,", "factor(prepared.product, damping=0.5 * damping,")

LIFT = (
    # the Gram lift without damping
    *(
        Sabotage(*UNDAMPED, LONGER, f"theorems/{test}")
        for test in (
            "test_law.py::test_1_1_the_outputs_decay_for_every_architecture",
            "test_law.py::test_1_1_the_outputs_walk_a_straight_line",
            "test_law.py::test_1_1_a_fourth_order_walk_leaves_the_law_at_fourth_order",
            "test_conditioning.py::test_1_3_conditioning_is_paid_in_parameter_space",
            "test_critical_sets.py::test_1_5_the_outputs_follow_the_projected_residual",
            "test_horizontal.py::test_1_6_the_length_of_the_lift_is_that_of_the_output_path",
        )
    ),
    *(
        Sabotage(*UNDAMPED, NOT_HORIZONTAL, f"theorems/{test}")
        for test in (
            "test_horizontal.py::test_1_6_the_velocity_is_horizontal",
            "test_horizontal.py::test_1_6_the_lift_of_a_closed_loop_need_not_close",
        )
    ),
    Sabotage(
        "lift/_gram_lift.py",
        "for _ in range(REFINEMENTS):",
        "for _ in range(0):",
        "lift/test_lift.py::test_an_undamped_gram_lift_is_refined_to_what_d_itself_has",
    ),
    # with damping
    *(
        Sabotage("lift/_gram_lift.py", *HALF_THE_DAMPING, f"theorems/{test}")
        for test in (
            "test_homotopy.py::test_2_1_the_homotopy_is_the_damped_lift",
            "test_homotopy.py::test_2_1_a_mode_decays_at_its_own_rate",
            "test_steps.py::test_1_8_the_push_through_identity",
            "test_steps.py::test_1_8_large_damping_is_gradient_descent",
        )
    ),
    Sabotage(
        "lift/_gram_lift.py",
        "misfit = torch.addmv(v, gram, z, beta=-1.0)",
        "misfit = torch.addmv(v, gram, z, beta=-1.0001)",
        "theorems/test_steps.py::test_1_8_the_linear_models_cost_is_free",
    ),
    # the normal lift
    Sabotage(
        "lift/_normal_lift.py",
        "return Lifted(self.metric.leave(solution), misfit, rank, fallback",
        "return Lifted(self.metric.leave(2.0 * solution), misfit, rank, fallback",
        "lift/test_lift.py::test_the_normal_lift_keeps_digits_that_squaring_loses",
    ),
    *(
        Sabotage(
            "lift/_normal_lift.py",
            "return Lifted(self.metric.leave(solution), misfit, self.factor.rank if",
            "return Lifted(self.metric.leave(2.0 * solution), misfit, self.factor.rank if",
            f"theorems/test_few_parameters.py::{test}",
        )
        for test in (
            "test_1_4_the_projected_flow_where_parameters_are_few",
            "test_1_4_the_local_rate_is_one_minus_curvature_times_distance",
        )
    ),
    Sabotage(
        *UNDAMPED,
        UNDAMPED[1].replace("leave(solution)", "leave(solution + 1e-3)"),
        "theorems/test_critical_sets.py::test_1_5_the_critical_set_is_that_of_gradient_descent",
    ),
    Sabotage(
        *UNDAMPED,
        LONGER,
        "theorems/test_conditioning.py::test_1_3_the_rate_does_not_see_the_conditioning",
    ),
    Sabotage(
        "lift/_normal_lift.py",
        "(s / (s * s + self.damping))",
        "(s / (s * s + 2.0 * self.damping))",
        "lift/test_lift.py::test_a_rank_that_is_asked_for_is_kept_at_every_damping",
    ),
    Sabotage(
        "lift/_normal_lift.py",
        "NORMAL_PIVOTS = 1e-7",
        "NORMAL_PIVOTS = 0.0",
        "lift/test_lift.py::test_the_normal_lift_keeps_digits_that_squaring_loses",
    ),
    Sabotage(
        "lift/_homotopy_lift.py",
        "Between(self.metric, damped, 1.0 /",
        "Between(self.metric, damped, 2.0 /",
        "geometry/test_homotopy.py::test_2_1_modes_of_a_linear_model_decay_at_their_rates",
    ),
    # products alone
    Sabotage(
        "lift/_krylov_lift.py",
        "torch.add(inner.mv(inner.rmv(z.to(inner.dtype))).to(z.dtype), z, alpha=damping)",
        "torch.add(inner.mv(inner.rmv(z.to(inner.dtype))).to(z.dtype), z, alpha=0.5 * damping)",
        "lift/test_lift.py::test_every_route_is_the_dense_lift",
    ),
    Sabotage(
        "lift/_krylov_lift.py",
        "return expecting(self.inner, 2.0 * linalg.STEP_ITERATIONS)",
        "return self.metric.jacobian",
        "lift/test_krylov.py::test_of_a_recorded_call_a_solve_makes_the_columns_once_and_the_misfit_is_a_product",
    ),
    Sabotage(
        "lift/_output_blocks.py",
        "for piece in block.kinds)",
        "for piece in block.columns)",
        "lift/test_krylov.py::test_the_price_of_blocks_and_the_scale_do_not_make_the_columns_of_a_recorded_call",
    ),
    Sabotage(
        "lift/_output_blocks.py",
        "0.5 * n * Block(one, 1, 1).gram_flops(n)",
        "n**2 * sum(sum(piece.index.shape) for piece in one)",
        "lift/test_output_blocks.py::test_the_price_of_blocks_counts_every_position_of_a_layer",
    ),
    Sabotage(
        "lift/_layer_factors.py",
        "elsewhere[part.index] = 0.0",
        "pass",
        "lift/test_layer_factors.py::test_the_trace_counts_every_row_once_whatever_overlaps",
    ),
    Sabotage(
        "lift/_krylov_lift.py",
        "misfit = jacobian.mv(solved.solution) - v",
        "misfit = self.prepared.inner.mv(solved.solution.to(self.prepared.inner.dtype)).to(v.dtype) - v",
        "lift/test_krylov.py::test_products_in_single_precision_leave_a_true_misfit",
    ),
    Sabotage(
        "lift/_krylov_lift.py",
        "near=None if goal.start is None else prepared.metric.enter(goal.start),",
        "near=None,",
        "lift/test_krylov.py::test_a_lift_begins_on_the_line_of_the_velocity_that_it_is_given",
    ),
    Sabotage(
        "lift/_krylov_lift.py",
        "return replace(solved, converged=True) if solved.converged or pace.seen else None",
        "return replace(solved, converged=True)",
        "lift/test_krylov.py::test_that_nothing_can_be_gained_is_not_believed_of_an_estimate",
    ),
    Sabotage(
        "lift/_krylov_lift.py",
        "if not (solved.converged or solved.cut) and damping == 0.0:",
        "if damping < 0.0:",
        "lift/test_lift.py::test_krylov_notices_a_singular_gram_matrix_by_products_alone",
    ),
    # the plan
    Sabotage(
        "lift/_planned_lift.py",
        "return GramLift() if m <= k else NormalLift()",
        "return GramLift() if m >= k else NormalLift()",
        "lift/test_plan.py::test_the_plan_goes_by_m_and_k",
    ),
    Sabotage(
        "lift/_planned_lift.py",
        "DENSE_MATRICES * smaller**2 * dtype.itemsize",
        "smaller**2 * dtype.itemsize",
        "lift/test_plan.py::test_single_precision_takes_half_of_the_memory",
    ),
    Sabotage(
        "lift/_planned_lift.py",
        "budget().exact_order if self.for_exact else budget().factor_order",
        "budget().factor_order",
        "lift/test_plan.py::test_a_flow_factorises_larger_matrices_and_solves_exactly",
    ),
)
