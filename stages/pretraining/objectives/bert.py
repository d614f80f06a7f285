"""BERT: masked language modelling and next sentence prediction, each a mean, summed.

Source: Devlin et al. 2019, section 3.1 and appendix A.2. The vocabulary is projected at masked
positions only, which changes no loss and no gradient.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining

from stages.core.nn.body import encode
from stages.pretraining.architecture import architecture
from stages.pretraining.flops import body_flops, dense_flops, masked_lm_head_flops
from stages.pretraining.objective import (
    Loss,
    OneModelObjective,
    Term,
    Vocabulary,
    Work,
    cross_entropy_term,
)
from stages.pretraining.params import PretrainingParams
from stages.pretraining.vocabulary_loss import vocabulary_term
from stages.pretraining.weights import initialise


class BertObjective(OneModelObjective):
    """A `BertForPreTraining` with the two losses of the paper."""

    model_type = "bert"
    model_class = BertForPreTraining
    terms = {"mlm": Loss(), "nsp": Loss()}
    reads = ("masked_index", "first_index")

    @classmethod
    def from_scratch(cls, params: PretrainingParams, vocabulary: Vocabulary) -> "BertObjective":
        """A model with fresh weights."""
        config = BertConfig(
            **architecture(params),
            vocab_size=vocabulary.vocab_size,
            pad_token_id=vocabulary.special_token_ids["pad"],
        )
        model = BertForPreTraining(config)
        initialise(model, config.initializer_range)
        return cls(model)

    @staticmethod
    def counts(work: Work) -> dict[str, int]:
        """Masked positions, and one pair a sequence."""
        return {"mlm": work.masked, "nsp": work.sequences}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Term]:
        """Sums of both losses."""
        hidden = encode(self.model.bert, inputs)
        pooled = self.model.bert.pooler(hidden[inputs["first_read"]][:, None])
        head = self.model.cls.predictions
        masked = head.transform(hidden[inputs["masked_read"]])
        decoder = head.decoder
        is_next = self.model.cls.seq_relationship(pooled)
        return {
            "mlm": vocabulary_term(masked, decoder.weight, decoder.bias, inputs["labels"]),
            "nsp": cross_entropy_term(is_next, inputs["next_sentence_label"]),
        }

    def masked_lm_logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """Logits (M, V) at the masked positions."""
        hidden = encode(self.model.bert, inputs)
        return self.model.cls.predictions(hidden[inputs["masked_read"]])

    def forward_flops(self, work: Work) -> float:
        """Body, masked-LM head, pooler and the two classes of NSP."""
        config = self.model.config
        pooled = dense_flops(work.sequences, config.hidden_size, config.hidden_size, 2)
        return body_flops(config, work) + masked_lm_head_flops(config, work.masked) + pooled


OBJECTIVE = BertObjective
