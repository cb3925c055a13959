"""Wrong formulas of the posterior of noisy data."""

from sabotage._sabotage import Sabotage

HERE = "generalisation/posterior"
TESTS = "generalisation/test_posterior.py::test"
OF_CLASSES = "generalisation/test_class_posterior.py::test"
OF_NETWORK = "generalisation/test_posterior_network.py::test"
OF_BEGINNINGS = "generalisation/test_posterior_beginnings.py::test"
SAVED = "generalisation/test_posterior_saved.py::test"
OF_MANY = "generalisation/test_posterior_many_rows.py::test"
OF_FOLDS = "generalisation/test_posterior_folds.py::test"
AT_EDGES = "generalisation/test_posterior_edges.py::test"

POSTERIOR = (
    Sabotage(
        f"{HERE}/_evidence.py",
        "q * inverse - solved @ solved.T",
        "q * inverse - 0.5 * solved @ solved.T",
        f"{TESTS}_the_slope_of_the_evidence_is_its_derivative",
    ),
    Sabotage(
        f"{HERE}/_evidence.py",
        "q * lower.diagonal().log().sum()",
        "lower.diagonal().log().sum()",
        f"{TESTS}_the_slope_of_the_evidence_is_its_derivative",
    ),
    Sabotage(
        f"{HERE}/_evidence.py",
        "repeated = 0.5 * q * (self.weights - 1.0).sum()",
        "repeated = 0.0 * self.weights.sum()",
        f"{TESTS}_the_evidence_of_a_row_of_weight_two_is_that_of_two_rows",
    ),
    Sabotage(
        f"{HERE}/_covariance.py",
        "v * layer.inner(other) * layer.outer(other)",
        "v * layer.inner(other)",
        f"{TESTS}_the_covariance_of_the_layers_is_that_of_the_linearised_network",
    ),
    Sabotage(
        f"{HERE}/_member.py",
        "solved / diagonal[:, None], 1.0 / diagonal",
        "solved, 1.0 / diagonal",
        f"{TESTS}_what_is_left_out_is_what_the_other_rows_predict",
    ),
    Sabotage(
        f"{HERE}/_posterior.py",
        "(variance + (together - mean).square().mean(0)).sqrt()",
        "(0.1 * variance).sqrt()",
        f"{TESTS}_error_bars_are_true",
    ),
    Sabotage(
        f"{HERE}/_plain_network.py",
        "columns.rmv(u) - apart) / c",
        "columns.rmv(u) - 0.9 * apart) / c",
        f"{OF_NETWORK}_the_gradient_of_the_objective_vanishes",
    ),
    Sabotage(
        f"{HERE}/_plain_network.py",
        "(v / fan_in if kind",
        "(v if kind",
        f"{OF_NETWORK}_the_first_step_is_the_linearised_posterior",
    ),
    Sabotage(
        f"{HERE}/_induced.py",
        "across.square().sum(0) - left",
        "across.square().sum(0) + left",
        f"{OF_MANY}_through_all_rows_the_covariance_is_exact",
    ),
    Sabotage(
        f"{HERE}/_induced.py",
        "clamp(min=0.0) + noise",
        "clamp(max=0.0) + noise",
        f"{OF_MANY}_through_some_rows_it_is_exact_on_the_diagonal",
    ),
    Sabotage(
        f"{HERE}/_iterated.py",
        "turned + size / before.clamp(min=tiny) * direction",
        "turned",
        f"{OF_MANY}_conjugate_gradients_solve_each_column",
    ),
    Sabotage(
        f"{HERE}/_iterated.py",
        "diagonal + (signs * (of_signs",
        "diagonal - (signs * (of_signs",
        f"{OF_MANY}_many_rows_are_conditioned_on_as_few_are",
    ),
    Sabotage(
        f"{HERE}/_saved.py",
        "{name: values[i] for name, values",
        "{name: values[0] for name, values",
        f"{SAVED}_a_posterior_comes_back_from_a_file",
    ),
    Sabotage(
        f"{HERE}/_scaling.py",
        "return (values - self.mean) / self.deviation",
        "return values - self.mean",
        f"{TESTS}_units_change_nothing",
    ),
    Sabotage(
        f"{HERE}/classes/_laplace.py",
        "b - c + torch.stack(",
        "b - c - torch.stack(",
        f"{OF_CLASSES}_the_density_is_stationary_at_the_mode",
    ),
    Sabotage(
        f"{HERE}/classes/_laplace.py",
        "torch.diag_embed(own) - torch.einsum(",
        "torch.diag_embed(own) + torch.einsum(",
        f"{OF_CLASSES}_the_posterior_covariance_is_the_inverse_of_the_curvature",
    ),
    Sabotage(
        f"{HERE}/classes/_laplace.py",
        "return self.latents - pulled",
        "return self.latents",
        f"{OF_CLASSES}_rows_left_out_are_as_without_them",
    ),
    Sabotage(
        f"{HERE}/classes/_class_posterior.py",
        "for member in self.members]).mean(0)",
        "for member in self.members]).sum(0)",
        f"{OF_CLASSES}_probabilities_are_true",
    ),
    Sabotage(
        f"{HERE}/classes/_class_evidence.py",
        "slope[-d - 2] = 0.5 * (moments * total).sum()",
        "slope[-d - 2] = (moments * total).sum()",
        f"{OF_CLASSES}_the_slope_of_the_evidence_of_classes_is_its_derivative",
    ),
    Sabotage(
        f"{HERE}/_folds.py",
        "numbers.noise / weights, numbers",
        "numbers.noise * weights, numbers",
        f"{OF_FOLDS}_rows_of_weight_two_are_two_rows_of_the_other_folds",
    ),
    Sabotage(
        f"{HERE}/_ranks.py",
        "counts.cumsum() - 0.5 * counts",
        "counts.cumsum()",
        f"{TESTS}_ties_have_their_middle_rank_and_between_two_values_it_is_interpolated",
    ),
    Sabotage(
        f"{HERE}/_iterated.py",
        "estimate, 1.0 / diagonal,",
        "estimate, diagonal,",
        f"{OF_MANY}_through_all_rows_what_is_left_out_varies_as_with_one_factor",
    ),
    Sabotage(
        f"{HERE}/_posterior.py",
        "(share * self._left_out.square()).sum(0)",
        "self._left_out.square().mean(0)",
        f"{TESTS}_a_row_of_weight_two_counts_as_two_rows",
    ),
    Sabotage(
        f"{HERE}/_posterior.py",
        "(member.left_out_variance - member.noise).clamp",
        "member.left_out_variance.clamp",
        f"{AT_EDGES}_rows_left_out_are_measured_by_the_noise_of_a_new_target",
    ),
    Sabotage(
        f"{HERE}/_reach.py",
        "level * (n + 1.0)",
        "level * n",
        f"{AT_EDGES}_an_interval_reaches_as_far_as_so_many_rows_are_off",
    ),
    Sabotage(
        f"{HERE}/classes/_calibration.py",
        "math.pi * variance / 8.0",
        "math.pi * variance * 8.0",
        f"{OF_CLASSES}_a_shrunk_latent_function_has_the_mean_probability",
    ),
    Sabotage(
        f"{HERE}/classes/_class_conditioning.py",
        "min(as_good, key",
        "max(as_good, key",
        f"{OF_CLASSES}_of_amplitudes_that_are_as_good_the_one_nearest_to_the_evidence_is_chosen",
    ),
    Sabotage(
        f"{HERE}/classes/_class_member.py",
        "self.amplitude * variances(",
        "1.0 * variances(",
        f"{OF_CLASSES}_fitted_rows_are_predicted_by_mode_and_posterior_covariance",
    ),
    Sabotage(
        f"{HERE}/classes/_class_evidence.py",
        "return 2.0 if targets",
        "return 1.0 if targets",
        f"{OF_CLASSES}_one_latent_function_of_two_classes_is_the_difference_of_two",
    ),
    Sabotage(
        f"{HERE}/classes/_class_evidence.py",
        "mode.latents + (mode.targets - p)",
        "mode.latents - (mode.targets - p)",
        f"{OF_CLASSES}_a_regression_on_the_linearised_classes_has_the_same_mode",
    ),
    Sabotage(
        f"{HERE}/classes/_class_evidence.py",
        "1.0 / (mode.weights[:, None] * curvature)",
        "1.0 / curvature",
        f"{OF_CLASSES}_a_regression_on_the_linearised_classes_has_the_same_mode",
    ),
    Sabotage(
        "app/fitted/_posteriors.py",
        "float(self.posterior.reach(level)) * deviation",
        "float(self.posterior.reach(level))",
        "app/test_runs.py::test_intervals_of_a_run_are_those_of_its_posterior",
    ),
    Sabotage(
        "estimators.py",
        "self.weights @ self.distances.square() / self.weights.sum()",
        "self.distances.square().mean(0)",
        "estimators/test_estimators.py::test_weights_count_as_rows_in_intervals_of_the_exact_mode",
    ),
    Sabotage(
        f"{HERE}/_linear_part.py",
        "(targets - left @ (kept[:, None] * inside)) / rest[:, None]",
        "targets - left @ (kept[:, None] * inside)",
        f"{OF_BEGINNINGS}_what_a_linear_function_leaves_is_that_of_refits_without_a_repetition_of_each_row",
    ),
    Sabotage(
        f"{HERE}/_numbers.py",
        "min(USUAL_SHARE, unexplained)",
        "USUAL_SHARE",
        f"{OF_BEGINNINGS}_layers_and_steps_are_not_believed_to_be_more_than_a_linear_function_leaves",
    ),
    Sabotage(
        f"{HERE}/classes/_linear_begin.py",
        "begin[:d] += (STEEPER * relative)",
        "begin[:d] += (relative / relative)",
        f"{OF_BEGINNINGS}_classes_are_told_by_the_ratio_of_two_columns",
    ),
)
