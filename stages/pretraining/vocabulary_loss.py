"""The loss of predicting words: projection to the vocabulary and cross-entropy in one step.

On a CPU the projection is cut over the vocabulary, which MKL computes up to 1.8 times as fast as in
one piece, and one buffer holds logits, then probabilities, then their gradient. Elsewhere, and
under autocast, torch's own functions are used.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from stages.pretraining.objective import Term, cross_entropy_term

_WORDS_AT_ONCE = 1024


def vocabulary_term(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Term:
    """Cross-entropy of predicting `labels` (M) from hidden states (M, H), weight (V, H), bias (V).

    An empty batch sums to 0, never NaN. `correct` counts labels that no other word outscores.
    """
    if hidden.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return cross_entropy_term(linear(hidden, weight, bias), labels)
    loss_sum, correct = _VocabularyLoss.apply(hidden, weight, bias, labels)
    return Term(loss_sum=loss_sum, count=len(labels), tallies={"correct": correct})


class _VocabularyLoss(torch.autograd.Function):
    """Sum of losses and number of right predictions."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = hidden.new_empty(len(hidden), len(weight))
        for first in range(0, len(weight), _WORDS_AT_ONCE):
            words = slice(first, first + _WORDS_AT_ONCE)
            torch.mm(hidden, weight[words].t(), out=logits[:, words])
        logits.add_(bias)
        # In place from here on: fresh memory of this size costs more than the arithmetic.
        logits.sub_(logits.amax(dim=-1, keepdim=True))
        chosen = logits.gather(1, labels[:, None])
        correct = (chosen == 0).sum()
        slope = logits.exp_()
        total = slope.sum(dim=-1, keepdim=True)
        loss_sum = (total.log() - chosen).sum()
        if any(ctx.needs_input_grad):
            slope.mul_(total.reciprocal())
            slope.scatter_add_(1, labels[:, None], torch.full_like(chosen, -1.0))
            ctx.save_for_backward(hidden, weight, slope)
        ctx.mark_non_differentiable(correct)
        return loss_sum, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        hidden, weight, slope = ctx.saved_tensors
        scaled = hidden * gradients[0]
        return (
            (slope @ weight) * gradients[0],
            slope.t() @ scaled,
            slope.sum(dim=0) * gradients[0],
            None,
        )
