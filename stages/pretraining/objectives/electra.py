"""ELECTRA: a small generator fills masks, and the encoder tells replaced tokens from original ones.

Source: Clark et al. 2020, sections 2 and 3, google-research/electra. Both are trained together; the
discriminator's loss never reaches the generator, since nothing flows through the sampling. They
share token, position and type embeddings with their LayerNorm, as in the original. A token that the
generator guesses right counts as original.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softmax
from transformers.models.electra.configuration_electra import ElectraConfig
from transformers.models.electra.modeling_electra import ElectraForMaskedLM, ElectraForPreTraining

from stages.core.errors import SettingsError
from stages.core.nn.body import encode, use_packed_attention
from stages.core.pinned import ENCODER, encoder_folder
from stages.pretraining.architecture import HEAD_SIZE, architecture
from stages.pretraining.flops import body_flops, dense_flops, masked_lm_head_flops
from stages.pretraining.objective import (
    Loss,
    Objective,
    Term,
    Vocabulary,
    Work,
    cross_entropy_term,
)
from stages.pretraining.params import ElectraParams, PretrainingParams
from stages.pretraining.weights import initialise, load_model

_GENERATOR = "generator"
_DETECTION = ("correct", "replaced", "flagged", "found")


class ElectraObjective(Objective):
    """An `ElectraForPreTraining` as the encoder and an `ElectraForMaskedLM` as its generator."""

    model_type = "electra"

    def __init__(
        self,
        discriminator: ElectraForPreTraining,
        generator: ElectraForMaskedLM,
        detection_weight: float,
    ) -> None:
        super().__init__()
        self.terms = {"mlm": Loss(), "rtd": Loss(detection_weight, _DETECTION)}
        self.discriminator, self.generator = discriminator, generator
        for model in (discriminator, generator):
            use_packed_attention(model)
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight

    @classmethod
    def from_scratch(cls, params: PretrainingParams, vocabulary: Vocabulary) -> "ElectraObjective":
        """Both models with fresh weights.

        Raises: SettingsError: the generator's size does not work out.
        """
        electra = _block(params)
        shape = architecture(params) | {
            "vocab_size": vocabulary.vocab_size,
            "pad_token_id": vocabulary.special_token_ids["pad"],
        }
        shape["embedding_size"] = electra.embedding_size or shape["hidden_size"]
        discriminator = ElectraForPreTraining(ElectraConfig(**shape))
        generator = ElectraForMaskedLM(ElectraConfig(**generator_shape(shape, electra)))
        for model in (generator, discriminator):
            initialise(model, model.config.initializer_range)
        return cls(discriminator, generator, electra.detection_weight)

    @classmethod
    def load(cls, folder: Path, params: PretrainingParams) -> tuple["ElectraObjective", list[str]]:
        """Both models from a folder; a published discriminator alone gets a fresh generator."""
        electra = _block(params)
        discriminator, missing = load_model(
            ElectraForPreTraining, encoder_folder(folder), cls.model_type
        )
        if (folder / _GENERATOR).is_dir():
            generator, lacking = load_model(ElectraForMaskedLM, folder / _GENERATOR, cls.model_type)
        else:
            shape = generator_shape(discriminator.config.to_dict(), electra)
            generator = ElectraForMaskedLM(ElectraConfig(**shape))
            initialise(generator, generator.config.initializer_range)
            shared = ("electra.embeddings.", "generator_lm_head.weight")
            lacking = [name for name in generator.state_dict() if not name.startswith(shared)]
        missing += [f"generator.{name}" for name in lacking]
        return cls(discriminator, generator, electra.detection_weight), missing

    def save(self, folder: Path) -> None:
        """Write the discriminator as the encoder, and the generator beside it."""
        self.discriminator.save_pretrained(folder / ENCODER)
        self.generator.save_pretrained(folder / _GENERATOR)

    @property
    def encoder(self) -> ElectraForPreTraining:
        """The discriminator."""
        return self.discriminator

    @staticmethod
    def counts(work: Work) -> dict[str, int]:
        """Masked positions, and every token that is no padding."""
        return {"mlm": work.masked, "rtd": work.tokens}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Term]:
        """Sums of the generator's and the discriminator's losses."""
        logits = self.masked_lm_logits(inputs)
        original = _filled(inputs, inputs["labels"])
        shown = _filled(inputs, sample(logits.detach(), inputs["sampling_draws"]))
        replaced = {**inputs, "input_ids": shown}
        hidden = encode(self.discriminator.electra, replaced, reads_all=True)
        flags = self.discriminator.discriminator_predictions(hidden)
        return {
            "mlm": cross_entropy_term(logits, inputs["labels"]),
            "rtd": _detection_term(flags, shown != original),
        }

    def masked_lm_logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """The generator's logits (M, V) at the masked positions."""
        masked = encode(self.generator.electra, inputs)[inputs["masked_read"]]
        return self.generator.generator_lm_head(self.generator.generator_predictions(masked))

    def forward_flops(self, work: Work) -> float:
        """Both bodies, the generator's head at masked positions, the discriminator's at all."""
        own, other = self.discriminator.config, self.generator.config
        detection = dense_flops(work.tokens, own.hidden_size, own.hidden_size, 1)
        generator = body_flops(other, work) + masked_lm_head_flops(other, work.masked)
        return body_flops(own, work, reads_all=True) + detection + generator

    def measures(self, name: str, sums: Mapping[str, float]) -> dict[str, float]:
        """Beside accuracy, of detection: precision, recall, F1 and the share replaced."""
        measured = super().measures(name, sums)
        if name == "rtd":
            precision = sums["found"] / max(1.0, sums["flagged"])
            recall = sums["found"] / max(1.0, sums["replaced"])
            measured |= {
                "rtd_precision": precision,
                "rtd_recall": recall,
                "rtd_f1": 2 * precision * recall / max(1e-12, precision + recall),
                "replaced_fraction": sums["replaced"] / max(1.0, sums["count"]),
            }
        return measured


def generator_shape(shape: Mapping[str, Any], electra: ElectraParams) -> dict[str, Any]:
    """The generator's configuration: as deep as the discriminator, narrower, embeddings shared.

    Raises: SettingsError: the width is no multiple of the heads.
    """
    hidden_size = round(shape["hidden_size"] * electra.generator_hidden_fraction)
    heads = max(1, hidden_size // HEAD_SIZE)
    if not hidden_size or hidden_size % heads:
        raise SettingsError(
            "params.yaml: pretraining.electra.generator_hidden_fraction "
            f"{electra.generator_hidden_fraction:g} of hidden_size {shape['hidden_size']} gives a "
            f"generator {hidden_size} wide, expected a multiple of its {heads} heads"
        )
    inner = round(shape["intermediate_size"] * electra.generator_hidden_fraction)
    return {
        **shape,
        "hidden_size": hidden_size,
        "num_attention_heads": heads,
        "intermediate_size": inner,
    }


@torch.no_grad()
def sample(logits: Tensor, draws: Tensor) -> Tensor:
    """One token (M) from each row of logits (M, V) at temperature 1.

    The inverse of the cumulative distribution at one keyed draw: the distribution of the original's
    Gumbel argmax for one random number a position instead of V, and the same for any batch layout.
    """
    cumulative = softmax(logits.float(), dim=-1).cumsum(dim=-1)
    target = draws.to(cumulative.dtype) * cumulative[:, -1]
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].clamp(
        max=logits.shape[1] - 1
    )


def _filled(inputs: Mapping[str, Any], tokens: Tensor) -> Tensor:
    """The input ids (T) with `tokens` at the masked positions, a fresh tensor."""
    filled: Tensor = inputs["input_ids"].scatter(0, inputs["masked_index"], tokens)
    return filled


def _detection_term(logits: Tensor, is_replaced: Tensor) -> Term:
    """Binary cross-entropy of (T) logits in float32 over every token."""
    logits = logits.float()
    is_flagged = logits.detach() > 0
    return Term(
        loss_sum=binary_cross_entropy_with_logits(
            logits, is_replaced.to(logits.dtype), reduction="sum"
        ),
        count=len(logits),
        tallies={
            "correct": (is_flagged == is_replaced).sum(),
            "replaced": is_replaced.sum(),
            "flagged": is_flagged.sum(),
            "found": (is_flagged & is_replaced).sum(),
        },
    )


def _block(params: PretrainingParams) -> ElectraParams:
    assert params.electra is not None  # the settings' validator asks for it
    return params.electra


OBJECTIVE = ElectraObjective
