"""No tensor is made on the user's default device: every factory of torch is told where."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "geodescent"
FACTORIES = {
    *("randn", "rand", "randint", "randperm", "normal", "zeros", "ones", "eye", "full", "empty", "arange", "linspace"),
    *("logspace", "tensor", "as_tensor", "asarray", "scalar_tensor", "tril_indices", "triu_indices"),
}


def test_every_tensor_is_made_on_a_stated_device() -> None:
    found, without = 0, list[tuple[str, int]]()
    for path in sorted(
        set(SOURCE.rglob("*.py")) - set((SOURCE / "app" / "equations").rglob("*.py"))
    ):  # plain mathematics
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"torch.{name}" for name in FACTORIES}:
                found += 1
                if "device" not in {keyword.arg for keyword in node.keywords}:
                    without.append((str(path.relative_to(SOURCE)), node.lineno))
    assert found > 30 and not without, without
