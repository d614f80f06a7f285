"""Feature extraction: the encoder stays as it is, and a head learns on what it says of each text.

What the head reads is computed once for a start (a twin's once a seed) and held in memory, so that
an epoch costs next to nothing. `last` trains what stands above the encoder in transformers' own
classifier, as far as it is new: BERT's pooler, learnt in pre-training, stays. `mean` and
`weighted` train a linear head on pooled layers (`stages.finetuning.pooled`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from stages.core.errors import SettingsError
from stages.finetuning.batches import padded_batch, sorted_batches
from stages.finetuning.classifier import (
    PACKED,
    batch_loss,
    first_tokens,
    head_facts,
    head_outputs,
    new_weights,
)
from stages.finetuning.features import Features
from stages.finetuning.pooled import PooledHead, layer_means, save_pooled
from stages.finetuning.task import Task

_SEQUENCES_AT_ONCE = 256


@dataclass(frozen=True)
class FixedFeatures:
    """What the encoder says of each example of a split."""

    vectors: Float[Tensor, "N L H"]

    @property
    def lengths(self) -> Int64[ndarray, "N"]:
        """All alike: batches of these need no sorting."""
        return np.ones(len(self.vectors), dtype=np.int64)


class FrozenClassifier:
    """`last`: transformers' classifier, of whose weights only new ones learn."""

    def __init__(self, model: Any, task: Task, start: Path) -> None:
        if model.config.model_type not in PACKED:
            raise SettingsError(
                f"{start}: features 'last' know {', '.join(PACKED)} and not "
                f"{model.config.model_type}; set finetuning.features to mean or weighted"
            )
        self.model, self.task = model, task
        for name, weight in model.named_parameters():
            weight.requires_grad_(name.startswith(new_weights(start)))

    @torch.no_grad()
    def fixed(self, features: Features) -> FixedFeatures:
        """Each example's first token in the last layer."""
        self.model.eval()
        vectors = torch.empty(len(features.lengths), 1, self.model.config.hidden_size)
        for chosen in sorted_batches(features.lengths, _SEQUENCES_AT_ONCE):
            examples, first = first_tokens(self.model, features, chosen)
            vectors[torch.from_numpy(examples)] = first[:, None].cpu()
        return FixedFeatures(vectors)

    def begin(self, _features: FixedFeatures) -> None:
        """Nothing to make ready: the words' embeddings are not learnt."""

    def loss(self, features: FixedFeatures, chosen: Int64[ndarray, "B"]) -> Tensor:
        """Mean loss of these training examples."""
        first = features.vectors[torch.from_numpy(chosen), 0].to(self.model.device)
        return batch_loss(chosen, head_outputs(self.model, first), self.task)

    def predict(self, features: FixedFeatures) -> Float64[ndarray, "N C"]:
        """The head's outputs for every example, in their order."""
        first = features.vectors[:, 0].to(self.model.device)
        outputs: ndarray = head_outputs(self.model, first).double().cpu().numpy()
        return outputs

    def save(self, folder: Path) -> None:
        """Write the checkpoint: encoder and head as one of transformers' classifiers."""
        self.model.save_pretrained(folder)


class PooledClassifier:
    """`mean` and `weighted`: a linear head on pooled layers."""

    def __init__(self, body: Any, task: Task, *, is_weighted: bool, seed: int) -> None:
        self.body, self.task, self.is_weighted = body, task, is_weighted
        num_layers = body.config.num_hidden_layers + 1 if is_weighted else 1
        torch.manual_seed(seed)
        self.model = PooledHead(body.config.hidden_size, num_layers, task.num_outputs)

    @torch.no_grad()
    def fixed(self, features: Features) -> FixedFeatures:
        """Each example's mean over its tokens, in the last layer or in each."""
        self.body.eval()
        shape = (len(features.lengths), len(self.model.mix), self.body.config.hidden_size)
        vectors = torch.empty(shape)
        for chosen in sorted_batches(features.lengths, _SEQUENCES_AT_ONCE):
            batch = {
                name: one.to(self.body.device)
                for name, one in padded_batch(features, chosen).items()
            }
            means = layer_means(self.body, batch, is_every_layer=self.is_weighted)
            vectors[torch.from_numpy(chosen)] = means.cpu()
        return FixedFeatures(vectors)

    def begin(self, _features: FixedFeatures) -> None:
        """Nothing to make ready: the words' embeddings are not learnt."""

    def loss(self, features: FixedFeatures, chosen: Int64[ndarray, "B"]) -> Tensor:
        """Mean loss of these training examples."""
        vectors = features.vectors[torch.from_numpy(chosen)].to(self.model.scale.device)
        return batch_loss(chosen, self.model(vectors), self.task)

    def predict(self, features: FixedFeatures) -> Float64[ndarray, "N C"]:
        """The head's outputs for every example, in their order."""
        outputs: ndarray = (
            self.model(features.vectors.to(self.model.scale.device)).double().cpu().numpy()
        )
        return outputs

    def save(self, folder: Path) -> None:
        """Write encoder and head (`stages.finetuning.pooled.load_pooled` reads them)."""
        save_pooled(folder, self.body, self.model, head_facts(self.task))
