"""Word embeddings of which a training moves the rows that its examples hold, and no other.

A task holds a few thousand of a vocabulary's words. The gradient of all the others is zero, so that
AdamW does nothing to them but decay them, all alike: one number stands for that. What the training
computes is the same; gradient, moments and norm of the unseen rows, most of a small model's
weights, are neither kept nor walked through in each update.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import embedding

_WORDS = "word_embeddings"


class SeenWords(nn.Module):
    """In the place of a model's word embeddings while it learns a task."""

    def __init__(self, whole: nn.Embedding, seen: Int64[ndarray, "S"]) -> None:
        """`seen`: the ids in the training examples, ascending."""
        super().__init__()
        self.whole = whole.requires_grad_(False)
        self.rows = nn.Parameter(whole.weight.detach()[torch.from_numpy(seen)].clone())
        number = torch.full((whole.num_embeddings,), -1)
        number[torch.from_numpy(seen)] = torch.arange(len(seen))
        self.register_buffer("number", number)
        self.register_buffer("kept", torch.ones((), dtype=torch.float64))
        """What decay has left of the unseen rows, a factor."""
        padding = -1 if whole.padding_idx is None else int(number[whole.padding_idx])
        self.padding_idx = padding if padding >= 0 else None

    def forward(self, input_ids: Int64[Tensor, "*T"]) -> Float[Tensor, "*T H"]:
        """The words' vectors; in training every id must be a seen one."""
        number = self.number[input_ids]
        if self.training:
            return embedding(number, self.rows, self.padding_idx)
        seen = embedding(number.clamp(min=0), self.rows)
        return torch.where((number >= 0)[..., None], seen, self.whole(input_ids) * self.kept)

    def decay_unseen(self, learning_rate: float, weight_decay: float) -> None:
        """What an update of AdamW does to rows without a gradient."""
        self.kept *= 1 - learning_rate * weight_decay

    @torch.no_grad()
    def merged(self) -> nn.Embedding:
        """Plain embeddings with what was learnt; this module is of no use any more."""
        self.whole.weight *= self.kept
        self.whole.weight[self.number >= 0] = self.rows
        return self.whole.requires_grad_(True)


def learn_seen_words(model: Any, ids: Int64[ndarray, "T"]) -> SeenWords:
    """Let a transformers model move the embeddings of the words in `ids` alone; in place.

    Its training must ask for no other word, not even for padding.
    """
    words = getattr(model.base_model.embeddings, _WORDS)
    whole = words.merged() if isinstance(words, SeenWords) else words
    seen = SeenWords(whole, np.unique(ids)).to(whole.weight.device)
    setattr(model.base_model.embeddings, _WORDS, seen)
    return seen


def restore_words(model: Any) -> None:
    """Give a model its plain embeddings back, with what was learnt."""
    words = getattr(model.base_model.embeddings, _WORDS, None)
    if isinstance(words, SeenWords):
        setattr(model.base_model.embeddings, _WORDS, words.merged())
