"""BERT: masked language modelling and next sentence prediction, each a mean, summed.

Source: Devlin et al. 2019, section 3.1 and appendix A.2. The vocabulary is projected at masked
positions only, which changes no loss and no gradient.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining

from stages.pretraining.objective import Objective, Rows, Term


class BertObjective(Objective):
    """A `BertForPreTraining` with the two losses of the paper."""

    terms = {"mlm": 1.0, "nsp": 1.0}

    def __init__(self, model: BertForPreTraining) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def from_scratch(cls, architecture: Mapping[str, Any]) -> "BertObjective":
        """A model with fresh weights: normal, cut at two standard deviations, 0.02 wide."""
        model = BertForPreTraining(BertConfig(**architecture))
        initialise(model, model.config.initializer_range)
        return cls(model)

    @classmethod
    def from_checkpoint(cls, folder: Path) -> tuple["BertObjective", list[str]]:
        """A model from a transformers checkpoint, and the names of weights that it lacked."""
        model, report = BertForPreTraining.from_pretrained(folder, output_loading_info=True)
        return cls(model), sorted(report["missing_keys"])

    @staticmethod
    def counts(rows: Rows) -> dict[str, int]:
        """Masked positions, and one pair a sequence."""
        return {"mlm": int(np.sum(rows.num_masked)), "nsp": len(rows.examples)}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Term]:
        """Sums of both losses.

        `batch`: input_ids, token_type_ids, attention_mask (B, S); masked_index (M) into the
        flattened (B * S) positions; labels (M); next_sentence_label (B), 1 = random.
        """
        hidden = self.model.bert(
            input_ids=batch["input_ids"],
            token_type_ids=batch["token_type_ids"],
            attention_mask=batch["attention_mask"],
        )
        masked = hidden.last_hidden_state.flatten(0, 1)[batch["masked_index"]]
        return {
            "mlm": _term(self.model.cls.predictions(masked), batch["labels"]),
            "nsp": _term(
                self.model.cls.seq_relationship(hidden.pooler_output),
                batch["next_sentence_label"],
            ),
        }

    @property
    def exported(self) -> BertForPreTraining:
        """The whole model with both heads."""
        return self.model


def _term(logits: Tensor, labels: Tensor) -> Term:
    """Cross-entropy of (N, classes) logits in float32; an empty batch sums to 0, never NaN."""
    logits = logits.float()
    return Term(
        loss_sum=cross_entropy(logits, labels, reduction="sum"),
        count=len(labels),
        correct=(logits.detach().argmax(dim=-1) == labels).sum(),
    )


@torch.no_grad()
def initialise(model: nn.Module, deviation: float) -> None:
    """Initialise like the original: matrices truncated normal, biases 0, LayerNorm 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


OBJECTIVE = BertObjective
