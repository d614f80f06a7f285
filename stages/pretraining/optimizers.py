"""The optimiser of a training: fused AdamW or BERT's Adam, its state whole or sharded over ranks.

Sharded, each rank holds the moments of its part of the weights and sends that part to the others
after the update (ZeRO-1, Rajbhandari et al. 2020): the same numbers for less memory. Saved is the
whole state in either case, so that a checkpoint goes on with any number of ranks, sharded or not.
"""

from typing import Any

import torch
from torch import nn

from stages.core.nn.optimizer import BertAdam, parameter_groups
from stages.pretraining import ranks
from stages.pretraining.params import PretrainingParams


def make_optimizer(
    params: PretrainingParams, model: nn.Module, device: torch.device, *, is_sharded: bool
) -> torch.optim.Optimizer:
    """The optimiser that the settings name; `is_sharded` needs several ranks."""
    kind: Any = BertAdam
    options: dict[str, Any] = {
        "lr": params.learning_rate,
        "betas": params.adam_betas,
        "eps": params.adam_epsilon,
    }
    if params.optimizer == "adamw":
        kind = torch.optim.AdamW
        options["fused"] = device.type in ("cpu", "cuda")
    groups = parameter_groups(model, params.weight_decay)
    if is_sharded and ranks.world_size() > 1:
        from torch.distributed.optim import ZeroRedundancyOptimizer  # 0.4 s that few need

        return ZeroRedundancyOptimizer(groups, optimizer_class=kind, **options)
    made: torch.optim.Optimizer = kind(groups, **options)
    return made


def whole_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of all weights, on the first rank; every rank must call it."""
    gather = getattr(optimizer, "consolidate_state_dict", None)  # what a sharded one has
    if gather is None:
        return optimizer.state_dict()
    gather(to=0)
    return optimizer.state_dict() if ranks.rank() == 0 else {}
