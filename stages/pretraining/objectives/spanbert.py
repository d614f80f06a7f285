"""SpanBERT: masked language modelling over spans, and each masked token from its span's borders.

Source: Joshi et al. 2020, section 3. The boundary objective predicts a masked token from the hidden
states left and right of its span and the token's place in the span. A span at the edge of a
sequence has no token on one side: it counts for masked language modelling alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM

from stages.core.nn.body import encode
from stages.pretraining.architecture import architecture
from stages.pretraining.flops import body_flops, dense_flops, masked_lm_head_flops
from stages.pretraining.objective import (
    Loss,
    OneModelObjective,
    Term,
    Vocabulary,
    Work,
)
from stages.pretraining.params import PretrainingParams
from stages.pretraining.vocabulary_loss import vocabulary_term
from stages.pretraining.weights import initialise

_POSITION_SIZE = 200  # Joshi et al. 2020, section 4.2
_HEAD_FILE = "boundary_head.safetensors"


class BoundaryHead(nn.Module):
    """Two dense layers over (left, right, position), then the tied decoder with its own bias."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        hidden, epsilon = config.hidden_size, config.layer_norm_eps
        self.positions = nn.Embedding(config.max_position_embeddings, _POSITION_SIZE)
        self.first = nn.Linear(2 * hidden + _POSITION_SIZE, hidden)
        self.first_norm = nn.LayerNorm(hidden, eps=epsilon)
        self.second = nn.Linear(hidden, hidden)
        self.second_norm = nn.LayerNorm(hidden, eps=epsilon)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, left: Tensor, right: Tensor, position: Tensor) -> Tensor:
        """What the decoder sees (K, H) from hidden states (K, H) beside the spans."""
        hidden = torch.cat([left, right, self.positions(position)], dim=-1)
        hidden = self.first_norm(gelu(self.first(hidden)))
        return self.second_norm(gelu(self.second(hidden)))


class SpanBertObjective(OneModelObjective):
    """A `BertForMaskedLM` and the boundary head beside it."""

    model_type = "bert"
    model_class = BertForMaskedLM
    terms = {"mlm": Loss(), "sbo": Loss()}
    reads = ("masked_index", "left_index", "right_index")

    def __init__(self, model: BertForMaskedLM) -> None:
        super().__init__(model)
        self.boundary_head = BoundaryHead(model.config)
        initialise(self.boundary_head, model.config.initializer_range)

    @classmethod
    def from_scratch(cls, params: PretrainingParams, vocabulary: Vocabulary) -> "SpanBertObjective":
        """A model with fresh weights."""
        config = BertConfig(
            **architecture(params),
            vocab_size=vocabulary.vocab_size,
            pad_token_id=vocabulary.special_token_ids["pad"],
        )
        model = BertForMaskedLM(config)
        initialise(model, config.initializer_range)
        return cls(model)

    @classmethod
    def load(cls, folder: Path, params: PretrainingParams) -> tuple["SpanBertObjective", list[str]]:
        """A model from a folder, and the names of weights that it lacked."""
        loaded, missing = super().load(folder, params)
        assert isinstance(loaded, cls)
        if (folder / _HEAD_FILE).is_file():
            loaded.boundary_head.load_state_dict(load_file(folder / _HEAD_FILE))
        else:
            missing = [*missing, *(f"boundary_head.{n}" for n in loaded.boundary_head.state_dict())]
        return loaded, missing

    def save(self, folder: Path) -> None:
        """Write the model with its masked-LM head, and the boundary head beside."""
        super().save(folder)
        weights = {name: w.contiguous() for name, w in self.boundary_head.state_dict().items()}
        save_file(weights, folder / _HEAD_FILE)

    @staticmethod
    def counts(work: Work) -> dict[str, int]:
        """Masked positions, and those of them whose span has both neighbours."""
        return {"mlm": work.masked, "sbo": work.boundaries}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Term]:
        """Sums of both losses."""
        hidden = encode(self.model.bert, inputs)
        head, labels = self.model.cls.predictions, inputs["labels"]
        weight = head.decoder.weight
        boundary = self.boundary_head(
            hidden[inputs["left_read"]], hidden[inputs["right_read"]], inputs["span_position"]
        )
        masked = head.transform(hidden[inputs["masked_read"]])
        beside = labels[inputs["boundary_rows"]]
        return {
            "mlm": vocabulary_term(masked, weight, head.decoder.bias, labels),
            "sbo": vocabulary_term(boundary, weight, self.boundary_head.bias, beside),
        }

    def masked_lm_logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """Logits (M, V) at the masked positions."""
        hidden = encode(self.model.bert, inputs)
        return self.model.cls.predictions(hidden[inputs["masked_read"]])

    def forward_flops(self, work: Work) -> float:
        """Body, masked-LM head and boundary head."""
        config = self.model.config
        hidden = config.hidden_size
        widths = (2 * hidden + _POSITION_SIZE, hidden, hidden, config.vocab_size)
        heads = masked_lm_head_flops(config, work.masked) + dense_flops(work.boundaries, *widths)
        return body_flops(config, work) + heads


OBJECTIVE = SpanBertObjective
