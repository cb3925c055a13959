"""The landscape: critical sets, horizontal paths, flows of other costs."""

from sabotage._sabotage import Sabotage

GEOMETRY = (
    Sabotage(
        "geometry/_critical.py",
        "dimension = max(smooth or",
        "dimension = point.nullity or max(smooth or",
        "geometry/test_classify.py::test_1_5_planted_points_are_told_apart",
    ),
    Sabotage(
        "geometry/_classify.py",
        "dimension = dimension_at(point, seed=seed)",
        "dimension = k - spectrum.rank",
        "geometry/test_classify.py::test_1_5_the_rank_alone_says_nothing_of_the_dimension",
    ),
    Sabotage(
        "geometry/_critical.py",
        "        theta = theta - point.solve(g).to(theta.dtype)\n    return None",
        "        return theta\n    return None",
        "geometry/test_classify.py::test_1_5_along_a_critical_submanifold_the_cost_is_constant",
    ),
    Sabotage(
        "geometry/_planted.py",
        "places[-1:] + 1.0",
        "places[-1:] - 1e-9",
        "geometry/test_planted.py::test_1_5_a_net_as_deep_as_there_are_samples_learns_the_mean_alone",
    ),
    Sabotage(
        "geometry/_planted.py",
        "module.bias[chosen] -= highest + highest.abs().clamp(min=1.0)",
        "module.bias[chosen] -= 0.5 * highest",
        "geometry/test_planted.py::test_1_5_dead_units_are_found_out",
    ),
    Sabotage(
        "geometry/_planted.py",
        "torch.cat([y, y[n : 2 * n]])",
        "torch.cat([y, y[:n]])",
        "geometry/test_planted.py::test_1_5_repeated_samples_are_found_out_with_their_floor",
    ),
    Sabotage(
        "geometry/_horizontal.py",
        "lift(way, damping=0.0)",
        "lift(1.01 * way, damping=0.0)",
        "geometry/test_horizontal.py::test_1_6_the_length_of_a_lift_is_that_of_the_output_path",
    ),
    Sabotage(
        "geometry/_horizontal.py",
        "start + side * f, start]",
        "start + side * f, start + side * f]",
        "geometry/test_horizontal.py::test_1_6_the_holonomy_of_a_square_grows_with_its_area",
    ),
    Sabotage(
        "geometry/_horizontal.py",
        "turns[i][:, j] - turns[j][:, i]",
        "turns[i][:, j] - turns[i][:, j]",
        "geometry/test_horizontal.py::test_1_6_brackets_of_two_fields_can_reach_a_third_direction",
    ),
    Sabotage(
        "geometry/_cost_flow.py",
        "1.0 / torch.where(kept, root",
        "1.0 / torch.where(kept, values",
        "geometry/test_cost_flow.py::test_2_4_in_the_hessians_metric_the_gradient_decays_for_every_cost",
    ),
    *(
        Sabotage(
            "geometry/_cost_flow.py",
            "return jacobian, -cost.gradient(outputs, targets).reshape(-1)",
            "return jacobian, -2.0 * cost.gradient(outputs, targets).reshape(-1)",
            f"geometry/test_cost_flow.py::{test}",
        )
        for test in (
            "test_2_4_in_the_euclidean_metric_outputs_follow_the_flow_in_output_space",
            "test_2_4_for_the_squared_error_both_are_the_adapted_flow",
        )
    ),
    Sabotage(
        "geometry/_combined.py",
        "jacobian.mv(slope) -",
        "-",
        "geometry/test_refine.py::test_5_6_the_combined_flow_keeps_the_law_and_lowers_the_objective",
    ),
    Sabotage(
        "geometry/_refine.py",
        "slope - place.horizontal(slope)",
        "slope",
        "geometry/test_refine.py::test_5_6_the_norm_falls_at_zero_cost_to_where_its_gradient_is_horizontal",
    ),
)
