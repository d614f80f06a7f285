"""The tokenizer stage: a vocabulary trained on a sample of the corpus, or a checkpoint's.

Writes what `AutoTokenizer.from_pretrained` loads, and a manifest with what the vocabulary costs on
the validation text. transformers is not imported unless a checkpoint is taken over.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from stages.core.artifacts import read_manifest, staged_directory, write_manifest
from stages.core.documents import iter_documents
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.tracking.journal import RunJournal
from stages.core.word_borders import find_word_starts, is_unused
from stages.tokenizer.files import MODEL_MAX_LENGTH, save_tokenizer
from stages.tokenizer.kinds import KINDS
from stages.tokenizer.params import TokenizerParams
from stages.tokenizer.sample import choose_documents, iter_sample
from stages.tokenizer.statistics import describe_text, describe_vocabulary
from stages.tokenizer.takeover import Made, take_over
from stages.tokenizer.wordpiece import entries_in_order, lowers_case

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
    made = _train(params, corpus) if params.start == "scratch" else take_over(params.start)
    tokenizer = made.tokenizer
    entries = entries_in_order(tokenizer)
    ids = {role: entries.index(token) for role, token in made.special_tokens.items()}
    starts = find_word_starts(entries, made.kind, made.special_tokens)
    texts = (text for _, text in iter_documents(corpus, "validation"))
    statistics = describe_text(tokenizer, texts, ids["unk"], starts)
    facts = {
        "kind": made.kind,
        "vocab_size": len(entries),
        "lowercase": lowers_case(tokenizer),
        "special_tokens": dict(made.special_tokens),
        "special_token_ids": ids,
        "num_unused": sum(map(is_unused, entries)),
        "start": params.start if params.start == "scratch" else params.start.revision,
        "statistics": statistics,
        "vocabulary": describe_vocabulary(entries, starts, set(made.special_tokens.values())),
    }
    with staged_directory(paths["out"]) as out:
        save_tokenizer(
            out,
            tokenizer,
            kind=made.kind,
            special_tokens=made.special_tokens,
            model_max_length=made.model_max_length,
        )
        write_manifest(out, "tokenizer", facts)
    log.info("%s", fields("tokenizer", vocab_size=len(entries), **statistics))
    journal.metrics({"vocab_size": len(entries), **statistics})


def _train(params: TokenizerParams, corpus: Path) -> Made:
    """Train on the sample and fill the vocabulary up."""
    threshold = choose_documents(corpus, params.sample_bytes)
    log.info("%s", fields("training", sample_fraction=threshold, vocab_size=params.vocab_size))
    kind = KINDS[params.kind]
    tokenizer = kind.train(lambda: iter_sample(corpus, threshold), params)
    return Made(tokenizer, params.kind, kind.special_tokens, MODEL_MAX_LENGTH)
