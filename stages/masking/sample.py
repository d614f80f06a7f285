"""One decoded example in the log: what a person would look at first."""

import json
import logging
from pathlib import Path

from stages.core.artifacts import read_manifest
from stages.core.examples import assemble, open_example_index
from stages.core.token_store import open_token_store

log = logging.getLogger(__name__)


def log_sample(masking: Path, encoding: Path, tokenizer: Path, max_seq_length: int) -> None:
    """Log the first example as the model will see it, and what it must predict."""
    words = _words(tokenizer)
    split = "train"
    index = open_example_index(masking, max_seq_length, split)
    if index.masks is None:  # drawn while training: the validation examples are of the same kind
        split = "validation"
        index = open_example_index(masking, max_seq_length, split)
    if not len(index) or index.masks is None:
        return
    sequences = assemble(
        open_token_store(encoding, split),
        index.examples[:1],
        max_seq_length=max_seq_length,
        special_token_ids=read_manifest(encoding, "encoding")["special_token_ids"],
    )
    shown = sequences.input_ids[0].copy()
    masked = slice(0, int(index.masks.offsets[1]))
    positions = index.masks.positions[masked].astype(int)
    answers = [words[token] for token in shown[positions]]
    shown[positions] = index.masks.replacements[masked]
    length = int(sequences.attention_mask[0].sum())
    log.info("sample: %s", " ".join(words[token] for token in shown[:length]))
    log.info(
        "sample predicts: %s; next_sentence_label=%d",
        ", ".join(f"{place}:{word}" for place, word in zip(positions, answers, strict=True)),
        index.examples["next_sentence_label"][0],
    )


def _words(tokenizer: Path) -> dict[int, str]:
    """Token id -> token, read from the tokenizer's file without loading a library."""
    description = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    entries = description["model"]["vocab"]
    if isinstance(entries, list):  # Unigram lists (entry, score) by id
        entries = {entry: number for number, (entry, _) in enumerate(entries)}
    vocabulary = dict(entries)
    vocabulary |= {token["content"]: token["id"] for token in description["added_tokens"]}
    return {number: word for word, number in vocabulary.items()}
