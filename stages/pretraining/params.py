"""Section `pretraining` of params.yaml: the model, the objective and how it is optimised."""

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from stages.core.settings import Checkpoint, Section


class ModelOverrides(Section):
    """Numbers that replace those of the named size; what is left out stays."""

    num_hidden_layers: int | None = Field(default=None, ge=1)
    """Transformer layers."""
    hidden_size: int | None = Field(default=None, ge=8)
    """Width of the hidden states."""
    num_attention_heads: int | None = Field(default=None, ge=1)
    """Attention heads; hidden_size / 64 where left out."""
    intermediate_size: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer; 4 x hidden_size where left out."""
    max_position_embeddings: int | None = Field(default=None, ge=8)
    """Positions the model knows, in tokens; the longest phase's length where left out."""


class ModelParams(Section):
    """The architecture; the size of the vocabulary comes from the tokenizer."""

    size: Literal["tiny", "mini", "small", "medium", "base", "large"]
    """A size of the BERT family, by name."""
    overrides: ModelOverrides
    """Numbers that replace those of the size."""
    hidden_dropout_probability: float = Field(ge=0, lt=1)
    """Dropout of embeddings and layer outputs."""
    attention_dropout_probability: float = Field(ge=0, lt=1)
    """Dropout of attention weights."""


class Budget(Section):
    """How much is trained; the learning rate has fallen to 0 when it is spent."""

    unit: Literal["steps", "tokens", "flops", "minutes"]
    """steps: updates; tokens: of text and special, padding not; flops: of matrix products, forward
    and backward, generator and heads included; minutes: of training, evaluation not."""
    amount: float = Field(ge=0)
    """How many of the unit; 0 exports the start as it is."""


class Phase(Section):
    """One part of the training at one sequence length."""

    max_seq_length: int = Field(ge=8)
    """Tokens in a sequence; one of masking.lengths."""
    share_of_budget: float = Field(gt=0, le=1)
    """Share of the budget; the shares of all phases sum to 1."""
    global_batch_sequences: int = Field(ge=1)
    """Sequences per update, over all processes and accumulation."""


class ElectraParams(Section):
    """What only ELECTRA has; the paper's small model has 0.25, 128 and 50."""

    generator_hidden_fraction: float = Field(gt=0, le=1)
    """The generator's hidden_size and intermediate_size as a share of the encoder's."""
    embedding_size: int | None = Field(ge=8)
    """Width of the embeddings that both share; hidden_size where null."""
    detection_weight: float = Field(gt=0)
    """Weight of replaced token detection beside the generator's masked-LM loss."""


INPUTS = ("encoding", "masking", "tokenizer")
"""The stages whose artefacts pre-training reads."""


class Demands(NamedTuple):
    """What an objective asks of the masking artefact."""

    examples: tuple[str, ...]
    """Kinds of examples that it can be trained on."""
    units: tuple[str, ...] = ("token", "whole-word", "span")
    """Units that masks may be drawn in."""
    allows_random_tokens: bool = True
    """Whether a masked position may show a random word."""


# One row an objective, with the same name as its module in objectives/.
DEMANDS = {
    "bert": Demands(examples=("segment-pairs",)),
    "roberta": Demands(examples=("full-sentences", "doc-sentences", "single")),
    "spanbert": Demands(examples=("single", "doc-sentences"), units=("span",)),
    "electra": Demands(
        examples=("single", "doc-sentences", "full-sentences", "segment-pairs"),
        allows_random_tokens=False,
    ),
}


class PretrainingParams(Section):
    """Settings of the pretraining stage."""

    start: Literal["scratch"] | Checkpoint
    """scratch, or a checkpoint whose weights and tokenizer are taken over."""
    objective: Literal["bert", "roberta", "spanbert", "electra"]
    """What the encoder is trained to do; docs/objectives.md says what each needs."""
    electra: ElectraParams | None = None
    """What only ELECTRA has."""
    model: ModelParams
    """The architecture; not used where start is a checkpoint."""
    phases: tuple[Phase, ...] = Field(strict=False, min_length=1)
    """Parts of the training, in order."""
    budget: Budget
    """How much is trained."""
    optimizer: Literal["adamw", "bert-adam"]
    """adamw, or Adam without bias correction as the original has it."""
    learning_rate: float = Field(gt=0, le=1)
    """Peak learning rate."""
    num_warmup_steps: int = Field(ge=0)
    """Updates over which the rate rises to its peak; it then falls linearly to 0."""
    weight_decay: float = Field(ge=0, lt=1)
    """Decoupled decay of matrices and embeddings, not of LayerNorm and biases."""
    adam_betas: tuple[float, float] = Field(strict=False)
    """Decay rates of Adam's two moments."""
    adam_epsilon: float = Field(gt=0, lt=1)
    """Added to the root of Adam's second moment."""
    max_grad_norm: float = Field(gt=0)
    """Global norm that gradients are clipped to."""
    precision: Literal["float32", "bfloat16"]
    """Number format of the matrix products; weights and optimiser stay float32."""
    eval_interval_steps: int = Field(ge=1)
    """Updates between two looks at the validation examples."""
    eval_sequences: int = Field(ge=1)
    """Most validation sequences that are looked at, always the same."""
    eval_tokens: int = Field(ge=1)
    """Validation tokens that the pseudo-perplexity at the end is estimated from."""
    seed: int = Field(ge=0)
    """Seed of initial weights, order of examples and dropout."""

    @model_validator(mode="after")
    def _check(self) -> "PretrainingParams":
        total = sum(phase.share_of_budget for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the phases' share_of_budget sum to {total:g}, expected 1")
        budget = self.budget
        if budget.unit == "steps" and budget.amount != int(budget.amount):
            raise ValueError(f"budget.amount is {budget.amount}, expected whole steps")
        if budget.unit == "steps" and 0 < budget.amount <= self.num_warmup_steps:
            raise ValueError(
                f"num_warmup_steps is {self.num_warmup_steps}, "
                f"expected less than the budget ({budget.amount:g} steps)"
            )
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ValueError(f"adam_betas is {self.adam_betas}, expected two numbers in [0, 1)")
        for name in DEMANDS:
            self._check_block(name)
        return self

    def _check_block(self, name: str) -> None:
        """A block named like an objective is there for that objective, and for no other."""
        if name not in type(self).model_fields:
            return
        is_given, is_chosen = getattr(self, name) is not None, self.objective == name
        if is_given and not is_chosen:
            raise ValueError(f"{name} is given, but objective is {self.objective!r}: take it out")
        if is_chosen and not is_given:
            raise ValueError(f"{name} is missing: objective {name!r} needs the block {name}")
