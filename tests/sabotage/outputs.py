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
    # products with weights, and recorded calls
    Sabotage(
        "outputs/_rules.py",
        "counted.sum(2, keepdim=True).clamp(min=1.0)",
        "float(words.shape[2])",
        "outputs/test_recorded.py::test_products_and_columns_are_those_of_autograd",
    ),
    Sabotage(
        "outputs/recorded/_product_calls.py",
        "return found[0] if len(found) == 1 else None",
        "return RowLayout(1)",
        "outputs/test_recorded.py::test_products_and_columns_are_those_of_autograd",
    ),
    Sabotage(
        "outputs/recorded/_convolutions.py",
        "(change, fixed) if ctx.by_x else (fixed, change)",
        "(change, fixed) if ctx.by_x else (fixed, 2.0 * change)",
        "outputs/test_recorded.py::test_products_are_passes_through_the_graph",
    ),
    # what a model must be
    Sabotage(
        "outputs/checks/_probing.py",
        "if not near(three[:2], two) and",
        "if not near(two, two) and",
        "outputs/test_refused_models.py::test_outputs_that_are_none",
    ),
    # what is looked at off the module's own parameters
    Sabotage(
        "outputs/_sample_map.py",
        "outputs, block = self.function.standing_at(leaves, lambda: ask(theta, leaves))",
        "outputs, block = self.function.standing_at(self.function.leaves(self.theta), lambda: ask(theta, leaves))",
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
        "outputs/test_rules.py::test_what_vmap_gets_wrong_is_taken_by_a_loop",
    ),
    Sabotage(
        "outputs/_per_sample.py",
        "any(differ(a, b, whole, CLOSELY) for",
        "any(differ(a, b, whole) for",
        "outputs/test_rules.py::test_what_vmap_gets_wrong_is_taken_by_a_loop",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "        return any(norm(off - other.off[where]) > ANOTHER * size for other in self.nearby())",
        "        return False",
        "outputs/test_rounded_derivatives.py::test_none_is_refused",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "[(p.name, p.entries) for p in function.parameters]",
        '[("", slice(None))]',
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
        "    if differ(products, along, size):",
        "    if False:",
        "outputs/test_own_rules.py::test_a_rule_that_breaks_the_gram_alone_is_noticed",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "    if differ(*numbers, row_norm(along) * row_norm(u)):",
        "    if False:",
        "outputs/test_own_rules.py::test_a_rule_that_breaks_the_product_with_d_alone_is_noticed",
    ),
    Sabotage(
        "outputs/_sample_map.py",
        "products=not self.routes.by_given_rules",
        "products=False",
        "outputs/test_own_rules.py::test_entries_that_a_rule_names_twice_in_one_piece_are_noticed",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "        if not bool(doubled.any()) and any(size <= NOISE * norm(other) for other in others):",
        "        if any(size <= NOISE * norm(other) for other in others):",
        "outputs/test_off_theta.py::test_what_torch_does_not_follow_is_refused",
    ),
    Sabotage(
        "outputs/checks/_agreement.py",
        "        if not bool(doubled.any()) and any(size <= NOISE * norm(other) for other in others):",
        "        if False:",
        "outputs/test_rounded_derivatives.py::test_none_is_refused",
    ),
    Sabotage(
        "outputs/checks/_elsewhere.py",
        "        way[where] = 0.0",
        "        way[where] = way[where]",
        "outputs/test_rounded_derivatives.py::test_none_is_refused",
    ),
    Sabotage(
        "outputs/checks/_slopes.py",
        "not off > allowed + self._unseen(v, moved)",
        "not off > allowed",
        "outputs/test_rounded_derivatives.py::test_what_outputs_are_too_large_to_show_is_not_missed",
    ),
    Sabotage(
        "outputs/checks/_slopes.py",
        "torch.where(moved, change, change.minimum(by_d))",
        "change.amax().expand_as(change)",
        "outputs/test_slope_check.py::test_a_parameter_with_small_effect_is_not_hidden_by_a_large_one",
    ),
    Sabotage(
        "outputs/checks/_probing.py",
        " and not shift <= AMPLIFIED * _moved_by_rounding(function, views, samples[0], two):",
        ":",
        "outputs/test_rounded_derivatives.py::test_none_is_refused",
    ),
    Sabotage(
        "outputs/_per_sample.py",
        "if (n_some := n_samples_of(samples)) == n_outputs > 1:",
        "if (n_some := n_samples_of(samples)) < 0:",
        "outputs/test_off_theta.py::test_prelu_is_right_where_the_start_says_nothing_of_it",
    ),
    # autograd's graph
    Sabotage(
        "outputs/graph/_rows.py",
        'swapped = self.is_transposed != (self.kind == "transposed product")',
        'swapped = self.is_transposed or self.kind == "transposed product"',
        "optim/test_closures_that_differentiate.py::test_rows_by_products_are_autograds",
    ),
    Sabotage(
        "outputs/graph/_rows.py",
        'return ProductUse(node, "sum") if leaf.dim() == 1 else None',
        "return None",
        "optim/test_closures_that_differentiate.py::test_rows_by_products_are_autograds",
    ),
    Sabotage(
        "outputs/graph/_rows.py",
        "return (g * rows).reshape(len(g), -1).sum(1, keepdim=True)",
        "return g.reshape(len(g), -1).sum(1, keepdim=True)",
        "optim/test_closures_that_differentiate.py::test_rows_by_products_are_autograds",
    ),
    Sabotage(
        "outputs/graph/_uses.py",
        "found += self._uses(consumer, is_transposed=not is_transposed)",
        "found += self._uses(consumer, is_transposed=is_transposed)",
        "optim/test_closures_that_differentiate.py::test_rows_by_products_are_autograds",
    ),
    Sabotage(
        "outputs/graph/_inside.py",
        "self.seen |= func is torch.autograd.grad or not all(map(has_memory, tensors))",
        "self.seen |= func is torch.autograd.grad",
        "optim/test_closures_that_differentiate.py::test_a_closure_by_columns_hears_of_a_hundred_times",
    ),
    Sabotage(
        "outputs/graph/_inside.py",
        "self.seen |= func is torch.autograd.grad or not all(map(has_memory, tensors))",
        "self.seen = True",
        "optim/test_closures_that_differentiate.py::test_closures_that_do_not_differentiate_hear_nothing",
    ),
)
