"""What an update will ask of a model: from the real examples if they are there, else made-up ones.

Both are `Examples`, so that masks, read positions and boundaries are counted by the code that
training uses, and so that a calibration can train on either. Made-up examples are full sequences of
random words, masked as section masking says.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import SettingsError
from stages.core.examples import EXAMPLE, ExampleIndex
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.random import Draws
from stages.core.token_store import SPLITS, TokenStore
from stages.pretraining.batches import Drawn, Examples, open_examples
from stages.pretraining.objective import Vocabulary, Work, load_objective
from stages.pretraining.params import PretrainingParams

_SAMPLED = 2048  # examples that a mean is taken over, where there are more
_PIECE = 256
_MADE_UP = 512
_WORD_PIECES = 5  # of so many made-up ids, one continues a word


@dataclass(frozen=True)
class Workload:
    """The examples of one length, and what they ask for."""

    examples: Examples
    work: Work
    """Of a sample of them together; its `sequences` says of how many."""
    num_examples: int | None
    """Different examples; None where they are made up."""


def real_workload(params: PretrainingParams, length: int, paths: Mapping[str, Path]) -> Workload:
    """The training examples of one length, opened from `encoding` and `masking`.

    Raises: ArtifactError: they are missing, damaged, or of another tokenizer.
    """
    reads = load_objective(params.objective).reads
    examples = open_examples(paths["encoding"], paths["masking"], length, SPLITS[0], reads=reads)
    num_examples = len(examples.index)
    number = np.arange(num_examples)
    if num_examples > _SAMPLED:
        number = Draws(0, "plan").integers(num_examples, np.arange(_SAMPLED))
    return Workload(examples, sampled_work(examples, number), num_examples)


def made_up_workload(
    params: PretrainingParams, length: int, vocabulary: Vocabulary, masking: Mapping[str, Any]
) -> Workload:
    """Full sequences of random words, masked as `masking` (the section of params.yaml) says.

    Raises: SettingsError: section masking does not make this length.
    """
    caps = {made["max_seq_length"]: made for made in masking["lengths"]}
    if length not in caps:
        raise SettingsError(
            f"params.yaml: pretraining.phases read max_seq_length {length}, expected one of "
            f"masking.lengths {sorted(caps)}; add it there"
        )
    first_word = max(vocabulary.special_token_ids.values()) + 1
    words = np.arange(first_word, vocabulary.vocab_size)
    examples = Examples(
        store=_made_up_store(words, length),
        index=ExampleIndex(_made_up_index(length, str(masking["examples"])), None),
        max_seq_length=length,
        special_token_ids=dict(vocabulary.special_token_ids),
        mask_settings=_mask_settings(masking),
        max_predictions=caps[length]["max_predictions_per_sequence"],
        vocabulary=MaskVocabulary(vocabulary.special_token_ids["mask"], words),
        reads=load_objective(params.objective).reads,
    )
    number = np.arange(_MADE_UP)
    return Workload(examples, sampled_work(examples, number), None)


def sampled_work(examples: Examples, number: Any) -> Work:
    """What the examples of these numbers ask for together."""
    work = Work()
    for first in range(0, len(number), _PIECE):
        piece = number[first : first + _PIECE]
        work += examples.batch(Drawn(piece, np.zeros_like(piece))).work
    return work


def scaled(work: Work, sequences: int) -> Work:
    """The same work for another number of sequences, rounded up."""
    numbers = asdict(work).items()
    return Work(**{name: -(-number * sequences // work.sequences) for name, number in numbers})


def _made_up_store(words: Any, length: int) -> TokenStore:
    """One document of random words, as long as all made-up examples together."""
    size = _MADE_UP * length
    place = Draws(0, "plan.words").integers(len(words), np.arange(size))
    vocab_size = int(words[-1]) + 1
    return TokenStore(
        tokens=words[place],
        sentences=np.array([0, size]),
        documents=np.array([0, 1]),
        word_starts=np.arange(vocab_size) % _WORD_PIECES != 0,
    )


def _made_up_index(length: int, kind: str) -> Any:
    """Examples that fill `length`: of two segments, or of one."""
    examples = np.zeros(_MADE_UP, dtype=EXAMPLE)
    has_pairs = kind == "segment-pairs"
    room = length - (3 if has_pairs else 2)
    examples["a_start"] = np.arange(_MADE_UP) * length
    examples["a_length"] = room // 2 if has_pairs else room
    examples["b_start"] = examples["a_start"] + examples["a_length"]
    examples["b_length"] = room - examples["a_length"]
    return examples


def _mask_settings(masking: Mapping[str, Any]) -> MaskSettings:
    """As the masking stage makes them from its section."""
    span = masking.get("span") or {}
    shared = ("unit", "mlm_probability", "budget_rounding", "seed")
    return MaskSettings(
        **{name: masking[name] for name in shared},
        mask_token_probability=masking["mask_token_probability"],
        random_token_probability=masking["random_token_probability"],
        span_geometric_probability=span.get("geometric_probability"),
        max_span_words=span.get("max_words"),
    )
