"""Optimisation shared by pre-training and fine-tuning: groups, schedule, original Adam."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

# LayerNorm and biases are never decayed (Devlin et al. 2019, appendix A.2; google-research/bert).
_UNDECAYED_MODULES = (nn.LayerNorm,)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: matrices and embeddings decay, LayerNorm and biases do not.

    A tied parameter is listed once. Parameters that need no gradient are left out.
    """
    decayed: dict[int, nn.Parameter] = {}
    undecayed: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_undecayed = isinstance(module, _UNDECAYED_MODULES) or name.endswith("bias")
            (undecayed if is_undecayed else decayed)[id(parameter)] = parameter
    return [
        {"params": list(decayed.values()), "weight_decay": weight_decay},
        {"params": list(undecayed.values()), "weight_decay": 0.0},
    ]


def linear_schedule(step: int, num_warmup_steps: int, max_steps: int) -> float:
    """Factor of the peak learning rate for update `step` (0-based).

    Rises linearly over the warm-up to 1, then falls linearly, reaching 0 just after the last
    update. Source: Devlin et al. 2019, appendix A.2.
    """
    if step < num_warmup_steps:
        return (step + 1) / (num_warmup_steps + 1)
    return max(0.0, (max_steps - step) / max(1, max_steps - num_warmup_steps))


def clip_gradients(parameters: Iterable[nn.Parameter], max_grad_norm: float) -> float:
    """Clip to a global L2 norm in place; the norm before clipping is returned."""
    norm = torch.nn.utils.clip_grad_norm_(list(parameters), max_grad_norm)
    return float(norm)


class BertAdam(torch.optim.Optimizer):
    """Adam as BERT was trained: decoupled weight decay, and no correction of the moments' bias.

    Source: AdamWeightDecayOptimizer of google-research/bert.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        assert closure is None, "a closure is not supported"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        gradient = parameter.grad
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        update = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])
        update.add_(parameter, alpha=group["weight_decay"])
        parameter.sub_(update, alpha=group["lr"])
