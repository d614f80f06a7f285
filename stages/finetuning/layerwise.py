"""Layer-wise learning-rate decay: the lower a layer, the less fine-tuning moves it.

Source: Clark et al. 2020, appendix B, and google-research/electra. With decay d and L layers the
head learns at the full rate, layer l (from 1) at d ** (L + 2 - l), the embeddings at d ** (L + 2):
even the top layer is decayed twice, as the original's exponent has it.
"""

import re
from typing import Any

from torch import nn

from stages.core.nn.optimizer import parameter_groups

_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")
_EMBEDDINGS = re.compile(r"\.embeddings(_project)?\.")


def layerwise_groups(
    model: nn.Module, weight_decay: float, layerwise_lr_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser; `rate_factor` is what a group's rate is multiplied by."""
    num_layers = 1 + max(
        (int(found[1]) for name, _ in model.named_parameters() if (found := _LAYER.search(name))),
        default=-1,
    )
    factors = {
        id(weight): layerwise_lr_decay ** (num_layers + 2 - _depth(name, num_layers))
        for name, weight in model.named_parameters()
    }
    groups = []
    for group in parameter_groups(model, weight_decay):
        for factor in sorted({factors[id(weight)] for weight in group["params"]}):
            weights = [weight for weight in group["params"] if factors[id(weight)] == factor]
            groups.append({**group, "params": weights, "rate_factor": factor})
    return groups


def _depth(name: str, num_layers: int) -> int:
    """0 for the embeddings, l for layer l from 1, num_layers + 2 for what lies above."""
    layer = _LAYER.search(name)
    if layer:
        return int(layer[1]) + 1
    return 0 if _EMBEDDINGS.search(name) else num_layers + 2
