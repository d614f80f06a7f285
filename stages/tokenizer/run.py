"""The tokenizer stage: a vocabulary trained on a sample of the corpus, or a checkpoint's.

Writes what `AutoTokenizer.from_pretrained` loads, and a manifest with what the vocabulary costs on
the validation text. transformers is not imported unless a checkpoint is taken over.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from stages.core.artifacts import read_manifest, staged_directory, write_manifest
from stages.core.documents import iter_documents
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.tracking.journal import RunJournal
from stages.tokenizer.files import MODEL_MAX_LENGTH, save_tokenizer
from stages.tokenizer.params import TokenizerParams
from stages.tokenizer.sample import choose_documents, iter_sample
from stages.tokenizer.statistics import describe_text, describe_vocabulary
from stages.tokenizer.takeover import take_over
from stages.tokenizer.training import train_vocabulary
from stages.tokenizer.wordpiece import (
    SPECIAL_TOKENS,
    build_tokenizer,
    entries_in_order,
    is_unused,
    normalizer_facts,
    pad_vocabulary,
)

log = logging.getLogger(__name__)


def run(params: TokenizerParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Make the tokenizer and write it to `paths["out"]`.

    Raises: SettingsError: the vocabulary is larger than the text can give, or the checkpoint is
    not the pinned one. ArtifactError: the corpus or the checkpoint does not fit.
    StorageError: the disk is full.
    """
    os.environ.setdefault("RAYON_NUM_THREADS", str(read_execution().workers))
    corpus = paths["corpus"]
    read_manifest(corpus, "corpus")
    if params.start == "scratch":
        tokenizer, model_max_length = _train(params, corpus), MODEL_MAX_LENGTH
    else:
        tokenizer, model_max_length = take_over(params.start)
    entries = entries_in_order(tokenizer)
    ids = {role: entries.index(token) for role, token in SPECIAL_TOKENS.items()}
    texts = (text for _, text in iter_documents(corpus, "validation"))
    statistics = describe_text(tokenizer, texts, ids["unk"])
    facts = {
        "kind": params.kind,
        "vocab_size": len(entries),
        "lowercase": normalizer_facts(tokenizer)["lowercase"],
        "special_token_ids": ids,
        "num_unused": sum(map(is_unused, entries)),
        "start": params.start if params.start == "scratch" else params.start.revision,
        "statistics": statistics,
        "vocabulary": describe_vocabulary(entries),
    }
    with staged_directory(paths["out"]) as out:
        save_tokenizer(out, tokenizer, model_max_length=model_max_length)
        write_manifest(out, "tokenizer", facts)
    log.info("%s", fields("tokenizer", vocab_size=len(entries), **statistics))
    journal.metrics({"vocab_size": len(entries), **statistics})


def _train(params: TokenizerParams, corpus: Path) -> Tokenizer:
    """Train on the sample and fill the vocabulary up."""
    threshold = choose_documents(corpus, params.sample_bytes)
    log.info("%s", fields("training", sample_fraction=threshold, vocab_size=params.vocab_size))
    entries = train_vocabulary(
        lambda: iter_sample(corpus, threshold),
        vocab_size=params.vocab_size,
        lowercase=params.lowercase,
    )
    padded = pad_vocabulary(entries, params.pad_to_multiple_of)
    return build_tokenizer(padded, lowercase=params.lowercase)
