"""Extraction: where in a context an answer begins and ends, learnt over its windows.

What is predicted of a question is one row: exact match and F1 of the best answer, then first
character, character behind the last, and score of the `num_best` answers, the best first.
Source: Devlin et al. 2019, section 4.2.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from stages.core.nn.body import encode, use_packed_attention
from stages.core.ranges import ranges
from stages.finetuning.answers import best_answers
from stages.finetuning.batches import packed_batch, padded_batch, sorted_batches
from stages.finetuning.classifier import PACKED, inputs_on, learn_words, save_checkpoint
from stages.finetuning.encoded import EncodedQuestions
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.features import Features
from stages.finetuning.seen_words import SeenWords
from stages.finetuning.squad import EXACT_MATCH, F1, answer_scores
from stages.finetuning.task import Task
from stages.finetuning.windows import answer_positions

_WINDOWS_AT_ONCE = 64


class SpanFinder:
    """A transformers model for question answering that learns with all of its weights."""

    def __init__(self, model: Any, task: Task, settings: ExtractionSettings) -> None:
        self.model, self.task, self.settings = model, task, settings
        self._targets: tuple[ndarray, ndarray] | None = None

    def loss(self, features: EncodedQuestions, chosen: Int64[ndarray, "B"]) -> Tensor:
        """Mean cross-entropy of an answer's first and last token in these windows.

        A window without the whole answer points at its first token twice.
        """
        if self._targets is None:
            positions = answer_positions(features.windows, *features.questions.spans)
            self._targets = positions.starts, positions.ends
        encoded = features.windows.features
        examples, logits = token_logits(self.model, encoded, chosen)
        sizes = encoded.lengths[examples].tolist()
        padded = pad_sequence(list(logits.split(sizes)), batch_first=True, padding_value=-torch.inf)
        sides = [
            cross_entropy(padded[..., side], torch.from_numpy(wanted[examples]).to(padded.device))
            for side, wanted in enumerate(self._targets)
        ]
        return (sides[0] + sides[1]) / 2

    def predict(self, features: EncodedQuestions) -> Float64[ndarray, "N C"]:
        """One row a question, in their order; see the module."""
        questions, encoded = features.questions, features.windows.features
        logits = np.empty((len(encoded.ids), 2))
        for chosen in sorted_batches(encoded.lengths, _WINDOWS_AT_ONCE):
            examples, found = token_logits(self.model, encoded, chosen)
            place = ranges(encoded.offsets[examples], encoded.lengths[examples])
            logits[place] = found.double().cpu().numpy()
        best = best_answers(features.windows, logits[:, 0], logits[:, 1], self.settings)
        scores = answer_scores(best.texts(questions.context), questions.answers)
        columns = [scores[EXACT_MATCH], scores[F1]]
        for rank in range(best.scores.shape[1]):
            columns += [best.begins[:, rank], best.ends[:, rank], best.scores[:, rank]]
        return np.stack(columns, axis=1).astype(np.float64)

    def begin(self, features: EncodedQuestions) -> SeenWords | None:
        """Make the model ready to learn these windows; its embeddings, where they are its own."""
        return learn_words(self.model, features.windows.features)

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.model, folder)


def token_logits(
    model: Any, features: Features, chosen: Int64[ndarray, "B"]
) -> tuple[Int64[ndarray, "B"], Float[Tensor, "T 2"]]:
    """Start and end logits of every token of these windows, and the windows in their order."""
    if model.config.model_type not in PACKED:
        batch = padded_batch(features, chosen)
        batch = {name: one.to(model.device) for name, one in batch.items()}
        given = model(**batch)
        both = torch.stack([given.start_logits, given.end_logits], dim=-1)
        return chosen, both[batch["attention_mask"]]
    use_packed_attention(model)
    packed = packed_batch(features, chosen)
    inputs = inputs_on(model.device, packed)
    hidden = encode(model.base_model, inputs, reads_all=True)
    return packed.examples, model.qa_outputs(hidden)
