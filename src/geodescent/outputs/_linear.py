"""Whether a module is affine in its trainable parameters."""

from torch import nn


def is_last_linear(model: nn.Module) -> bool:
    """Whether the one trainable module is a Linear that comes last, so that x[θ] is affine in θ."""
    if type(model) is nn.Sequential:
        chain = list(model)
        last = chain[-1] if chain else model
        owners = [m for _, m in model.named_modules(remove_duplicate=False) if _has_trainable(m)]
        return len(owners) == 1 and owners[0] is last and is_last_linear(last)
    return type(model) is nn.Linear and not model._forward_hooks and not model._forward_pre_hooks


def _has_trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters(recurse=False))
