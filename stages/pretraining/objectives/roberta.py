"""RoBERTa: masked language modelling alone, over packed sentences with fresh masks each epoch.

Source: Liu et al. 2019, section 3 and 4. What makes the system is mostly in other sections of
params.yaml: full-sentences or doc-sentences, dynamic masks, byte-level BPE.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import gelu
from transformers.models.roberta.configuration_roberta import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaForMaskedLM

from stages.core.nn.body import encode
from stages.pretraining.architecture import architecture
from stages.pretraining.flops import body_flops, masked_lm_head_flops
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


class RobertaObjective(OneModelObjective):
    """A `RobertaForMaskedLM` with its one loss."""

    model_type = "roberta"
    model_class = RobertaForMaskedLM
    terms = {"mlm": Loss()}

    @classmethod
    def from_scratch(cls, params: PretrainingParams, vocabulary: Vocabulary) -> "RobertaObjective":
        """A model with fresh weights."""
        special = vocabulary.special_token_ids
        shape = architecture(params)
        # RoBERTa numbers positions from pad_token_id + 1 on, and has no token types.
        shape["max_position_embeddings"] += special["pad"] + 1
        config = RobertaConfig(
            **{**shape, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
            vocab_size=vocabulary.vocab_size,
            pad_token_id=special["pad"],
            bos_token_id=special["cls"],
            eos_token_id=special["sep"],
        )
        model = RobertaForMaskedLM(config)
        initialise(model, config.initializer_range)
        return cls(model)

    @staticmethod
    def counts(work: Work) -> dict[str, int]:
        """Masked positions."""
        return {"mlm": work.masked}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Term]:
        """The sum of the masked-LM losses."""
        head = self.model.lm_head
        masked = head.layer_norm(gelu(head.dense(self._hidden(inputs))))
        decoder = head.decoder
        return {
            "mlm": vocabulary_term(masked, decoder.weight, decoder.bias, inputs["labels"]),
        }

    def masked_lm_logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """Logits (M, V) at the masked positions."""
        return self.model.lm_head(self._hidden(inputs))

    def _hidden(self, inputs: Mapping[str, Any]) -> Tensor:
        """Hidden states (M, H) at the masked positions."""
        return encode(self.model.roberta, inputs)[inputs["masked_read"]]

    def forward_flops(self, work: Work) -> float:
        """Body and masked-LM head."""
        config = self.model.config
        return body_flops(config, work) + masked_lm_head_flops(config, work.masked)


OBJECTIVE = RobertaObjective
