"""What a training is measured by while it runs and at its end, on fixed validation examples.

Two yardsticks. `term_means`: the objective's own losses on examples of its own kind, masked once.
`comparison_loss` and `pseudo_perplexity`: one masked-LM measure for every objective, on the same
windows of validation text and the same masks (ELECTRA's generator answers for it). The pseudo-
perplexity counts per word between white space, so that tokenizers stand in one column too.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from stages.core.examples import assemble
from stages.core.masks.draw import Masks
from stages.core.random import Draws
from stages.pretraining import ranks
from stages.pretraining.batches import Drawn, Examples, build_batch
from stages.pretraining.objective import Objective
from stages.pretraining.sums import Sums


@dataclass(frozen=True)
class Measuring:
    """How a model is measured here."""

    objective: Objective
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]
    micro_batch_sequences: int

    @torch.no_grad()
    def term_means(self, examples: Examples, num_sequences: int) -> dict[str, float]:
        """Mean losses and measures of every term on the first sequences."""
        sums = Sums(self.objective)
        for drawn in self._pieces(min(len(examples.index), num_sequences)):
            with self.autocast():
                terms = self.objective(examples.batch(drawn).placed(self.device))
            sums.add(terms)
        return sums.means()

    @torch.no_grad()
    def comparison_loss(self, examples: Examples, num_sequences: int) -> float:
        """Mean masked-LM loss in nats on the first sequences of the comparison split."""
        sums = {"loss": 0.0, "count": 0.0}
        for drawn in self._pieces(min(len(examples.index), num_sequences)):
            inputs = examples.batch(drawn).placed(self.device)
            with self.autocast():
                logits = self.objective.masked_lm_logits(inputs)
            sums["loss"] += float(cross_entropy(logits.float(), inputs["labels"], reduction="sum"))
            sums["count"] += len(inputs["labels"])
        total = ranks.sum_over_ranks(sums)
        return total["loss"] / max(1.0, total["count"])

    @torch.no_grad()
    def pseudo_perplexity(
        self, examples: Examples, num_tokens: int, *, tokens_per_word: float
    ) -> dict[str, float]:
        """Pseudo-perplexity per word, from tokens drawn evenly from the comparison windows.

        Each drawn token is predicted from the rest of its window, with the later pieces of its
        word masked too, since they would give it away. The mean negative log-likelihood of a token
        times the tokens of a word is exponentiated. Source: Salazar et al. 2020; the masked rest
        of the word: Kauf and Ivanova 2023.

        Returns: the perplexity, and the loss of a token with its standard error, in nats.
        """
        losses = [
            self._token_losses(examples, chosen)
            for chosen in np.array_split(
                _drawn_tokens(examples, num_tokens)[ranks.rank() :: ranks.world_size()],
                max(1, -(-num_tokens // self.micro_batch_sequences)),
            )
            if len(chosen)
        ]
        flat = torch.cat(losses) if losses else torch.zeros(0, dtype=torch.float64)
        sums = ranks.sum_over_ranks(
            {"n": float(len(flat)), "loss": float(flat.sum()), "squares": float((flat**2).sum())}
        )
        mean = sums["loss"] / sums["n"]
        variance = max(0.0, sums["squares"] / sums["n"] - mean**2)
        return {
            "pseudo_perplexity_per_word": math.exp(min(mean * tokens_per_word, 700.0)),
            "pseudo_loss_per_token": mean,
            "pseudo_loss_standard_error": math.sqrt(variance / sums["n"]),
        }

    def _token_losses(self, examples: Examples, tokens: np.ndarray) -> torch.Tensor:
        """Losses (N) in nats of tokens given by their number among all comparison tokens."""
        ends = np.cumsum(examples.index.examples["a_length"].astype(np.int64))
        window = np.searchsorted(ends, tokens, side="right")
        starts = ends[window] - examples.index.examples["a_length"][window]
        column = tokens - starts + 1  # behind [CLS]
        sequences = assemble(
            examples.store,
            examples.index.examples[window],
            max_seq_length=examples.max_seq_length,
            special_token_ids=examples.special_token_ids,
        )
        word = np.cumsum(sequences.word_starts, axis=1)
        rows, columns = np.arange(len(tokens)), np.arange(examples.max_seq_length)
        is_same_word = word == word[rows, column][:, None]
        hidden = is_same_word & (columns >= column[:, None]) & ~sequences.special_tokens_mask
        shown = np.where(hidden, examples.special_token_ids["mask"], sequences.input_ids)
        chosen = np.zeros_like(hidden)
        chosen[rows, column] = True
        batch = build_batch(
            sequences,
            Masks(chosen=chosen, shown=shown),
            sampling_draws=np.zeros(chosen.shape),
            next_sentence_label=np.zeros(len(tokens), dtype=np.int64),
            reads=examples.reads,
        )
        inputs = batch.placed(self.device)
        with self.autocast():
            logits = self.objective.masked_lm_logits(inputs)
        return cross_entropy(logits.double(), inputs["labels"], reduction="none").cpu()

    def _pieces(self, num_sequences: int) -> list[Drawn]:
        """The first sequences that this rank looks at, in micro-batches."""
        mine = np.array_split(np.arange(num_sequences), ranks.world_size())[ranks.rank()]
        size = self.micro_batch_sequences
        pieces = [mine[start : start + size] for start in range(0, len(mine), size)]
        return [Drawn(piece, np.zeros_like(piece)) for piece in pieces]


def _drawn_tokens(examples: Examples, num_tokens: int) -> np.ndarray:
    """Numbers of tokens to predict, evenly from all comparison windows, the same every time."""
    total = int(examples.index.examples["a_length"].astype(np.int64).sum())
    return Draws(0, "pseudo-perplexity").integers(total, np.arange(num_tokens))
