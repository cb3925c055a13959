"""Maps from parameters to outputs: rules of layers, capture of a forward pass, derivatives of functions."""

from sabotage._sabotage import Sabotage

OUTPUTS = (
    # rules
    Sabotage(
        "outputs/_rules.py",
        "for k, channels in enumerate(padded.chunk(groups, 1)):",
        "for k, channels in enumerate(padded.chunk(groups, 1)[::-1]):",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "outputs/_rules.py",
        "g = g * (indices != module.padding_idx)[:, None, :, None]",
        "g = g * (indices >= 0)[:, None, :, None]",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "outputs/_rules.py",
        "F.group_norm(inputs.flatten(0, 1), module.num_groups, eps=module.eps)",
        "F.group_norm(inputs.flatten(0, 1), 1, eps=module.eps)",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "outputs/_rules.py",
        "left, right = (whole // 2, whole - whole // 2)",
        "left, right = (whole - whole // 2, whole // 2)",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    # capture
    Sabotage(
        "outputs/_capture.py",
        "return self.inputs._version == self.version",
        "return True",
        "outputs/test_rules.py::test_inputs_overwritten_in_place_after_the_call",
    ),
    Sabotage(
        "outputs/_capture.py",
        "if axis > 0 and (copies > 1 or not RULES[type(a.module)].any_axis):",
        "if axis > 0 and copies > 1:",
        "outputs/test_own_rules.py::test_samples_on_another_axis_are_for_rules_that_say_so",
    ),
    Sabotage(
        "outputs/_capture.py",
        "shared = torch.unique(owners[owners >= 0]).tolist()",
        "shared = []",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "outputs/_capture.py",
        "    try:\n        yield calls\n    finally:\n        for handle in handles:\n            handle.remove()",
        "    yield calls\n    for handle in handles:\n        handle.remove()",
        "outputs/test_sample_map.py::test_hooks_are_gone_after_a_failed_linearise",
    ),
    Sabotage(
        "outputs/_routes.py",
        "if [c.name for c in calls] != self.calls:",
        "if len(calls) > len(self.calls):",
        "outputs/test_rules.py::test_a_path_that_depends_on_the_data_is_refused",
    ),
    # what a model must be
    Sabotage(
        "outputs/checks/_probing.py",
        "if not near(three[:2], two):",
        "if not near(two, two):",
        "outputs/test_refused_models.py::test_outputs_that_are_none",
    ),
    # what is looked at off the module's own parameters
    Sabotage(
        "outputs/_sample_map.py",
        "        return self.function.standing_at(leaves, lambda: self._linearised(theta))",
        "        return self.function.standing_at(self.function.leaves(self.theta), lambda: self._linearised(theta))",
        "outputs/test_off_theta.py::test_a_checkpoint_has_the_same_d_at_every_theta",
    ),
    Sabotage(
        "outputs/checks/_elsewhere.py",
        "    if not near(passed, fresh):",
        "    if not near(passed, passed):",
        "outputs/test_off_theta.py::test_results_kept_from_an_earlier_call_are_refused",
    ),
    Sabotage(
        "outputs/checks/_elsewhere.py",
        "    if not near(written, fresh):",
        "    if not near(written, written):",
        "outputs/test_off_theta.py::test_parameters_held_elsewhere_are_refused",
    ),
    Sabotage(
        "outputs/_per_sample.py",
        "            if math.isfinite(whole) and any(differ(a, b, whole, CLOSELY) for a, b in pairs):",
        "            if False:",
        "outputs/test_rules.py::test_what_vmap_gets_wrong_is_noticed_also_where_samples_are_alike",
    ),
    Sabotage(
        "outputs/_per_sample.py",
        "any(differ(a, b, whole, CLOSELY) for",
        "any(differ(a, b, whole) for",
        "outputs/test_rules.py::test_what_vmap_gets_wrong_is_noticed_also_where_samples_are_alike",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "        return any(norm(off - other.off[where]) > ANOTHER * size for other in self.nearby())",
        "        return False",
        "outputs/test_cancelled_blocks.py::test_rounding_errors_are_no_disagreement",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "disagreeing([*parts, *of_parameters], here",
        "disagreeing(parts, here",
        "outputs/test_wrong_rules.py::test_a_wrong_rule_is_refused",
    ),
    Sabotage(
        "outputs/checks/_elsewhere.py",
        "torch.finfo(theta.dtype).eps ** 0.75",
        "1e-3",
        "outputs/test_wrong_rules.py::test_a_wrong_rule_is_refused",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        'or not _Product("", v, ours, 1.0).agrees(theirs):',
        "or False:",
        "outputs/test_own_rules.py::test_a_rule_that_breaks_the_gram_alone_is_noticed",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "    rounded, tiny, eps = set[str]()",
        "    gradient[scaled.abs() < torch.finfo(gradient.dtype).eps ** 0.75 * size] = 0.0\n"
        "    rounded, tiny, eps = set[str]()",
        "outputs/test_cancelled_blocks.py::test_a_part_below_the_rounding_of_the_whole_is_no_disagreement",
    ),
)
