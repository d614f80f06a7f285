"""Sizes of the BERT family by name, and the transformers configuration made from the settings."""

from dataclasses import asdict, dataclass
from typing import Any

from stages.core.errors import SettingsError
from stages.pretraining.params import PretrainingParams


@dataclass(frozen=True)
class Size:
    """The numbers behind a size's name."""

    num_hidden_layers: int
    hidden_size: int


# Devlin et al. 2019 (base, large); Turc et al. 2019 (tiny, mini, small, medium).
SIZES = {
    "tiny": Size(2, 128),
    "mini": Size(4, 256),
    "small": Size(4, 512),
    "medium": Size(8, 512),
    "base": Size(12, 768),
    "large": Size(24, 1024),
}
HEAD_SIZE = 64


def architecture(params: PretrainingParams) -> dict[str, Any]:
    """Arguments of a transformers configuration of BERT's, without the vocabulary's.

    Raises: SettingsError: hidden_size is no multiple of the heads, or the positions are too few.
    """
    model = params.model
    longest_sequence = max(phase.max_seq_length for phase in params.phases)
    overrides = model.overrides.model_dump(exclude_none=True)
    shape = {**asdict(SIZES[model.size]), **overrides}
    hidden_size = shape["hidden_size"]
    shape.setdefault("num_attention_heads", max(1, hidden_size // HEAD_SIZE))
    shape.setdefault("intermediate_size", 4 * hidden_size)
    shape.setdefault("max_position_embeddings", longest_sequence)
    if hidden_size % shape["num_attention_heads"]:
        raise SettingsError(
            f"params.yaml: pretraining.model: hidden_size is {hidden_size}, expected a multiple of "
            f"num_attention_heads ({shape['num_attention_heads']})"
        )
    if shape["max_position_embeddings"] < longest_sequence:
        raise SettingsError(
            "params.yaml: pretraining.model.overrides.max_position_embeddings is "
            f"{shape['max_position_embeddings']}, expected at least the longest phase's "
            f"max_seq_length ({longest_sequence})"
        )
    return {
        **shape,
        "hidden_dropout_prob": model.hidden_dropout_probability,
        "attention_probs_dropout_prob": model.attention_dropout_probability,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "type_vocab_size": 2,
    }


def num_positions(config: Any) -> int:
    """Tokens that a model takes: RoBERTa leaves the positions up to its padding's unused."""
    unused = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    return int(config.max_position_embeddings) - unused
