"""What a model card says of the text, the tokenizer, the pre-training and what it cost.

In: the stages' manifests. Out: a line a fact; what a manifest does not state is unknown.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stages.registration.card_facts import UNKNOWN, CardFacts, counted, megabytes, told

_JOULES_PER_KWH = 3.6e6


def corpus_lines(facts: CardFacts) -> Iterator[str]:
    """Where the text came from, what was taken out of it, and what was kept apart from it."""
    corpus = facts.of("corpus")
    documents, size = corpus.get("documents", {}), corpus.get("bytes", {})
    yield f"Corpus: source {told(corpus, 'source')}, language {told(corpus, 'language')}."
    yield (
        f"Documents: {counted(documents.get('train'))} for training "
        f"({megabytes(size.get('train'))}), {counted(documents.get('validation'))} for validation "
        f"({megabytes(size.get('validation'))}), of {counted(corpus.get('read_documents'))} read."
    )
    cleaning = corpus.get("cleaning") or {}
    yield (
        f"Cleaning: Unicode {told(cleaning, 'unicode_form')}, documents shorter than "
        f"{counted(cleaning.get('min_document_characters'))} characters dropped, "
        f"{counted(corpus.get('invalid_utf8_replaced'))} invalid characters replaced; exact "
        f"duplicates dropped, {_near_duplicates(cleaning)}."
    )
    yield f"Decontamination: {_decontamination(corpus)}."
    if "dropped" not in corpus:
        yield f"Dropped documents: {UNKNOWN}."


def _near_duplicates(cleaning: Mapping[str, Any]) -> str:
    if "near_duplicates" not in cleaning:
        return f"near duplicates {UNKNOWN}"
    near = cleaning["near_duplicates"]
    if near is None:
        return "near duplicates kept"
    return f"near duplicates from a similarity of {near['similarity_threshold']:g} dropped"


def _decontamination(corpus: Mapping[str, Any]) -> str:
    cleaning = corpus.get("cleaning") or {}
    if "decontamination" not in cleaning:
        return UNKNOWN
    if cleaning["decontamination"] is None:
        return "none: the corpus may hold the tasks' development and test examples"
    cut = corpus.get("cut_passages") or {}
    return (
        f"passages that share {cleaning['decontamination']['ngram_words']} words in a row with a "
        f"task's development or test example were cut out of {counted(cut.get('documents'))} "
        f"documents ({counted(cut.get('paragraphs'))} paragraphs, {counted(cut.get('bytes'))} "
        f"bytes), against {counted(corpus.get('evaluation_ngrams'))} such word sequences"
    )


def tokenizer_lines(facts: CardFacts) -> Iterator[str]:
    """The vocabulary and what it costs."""
    tokenizer = facts.of("tokenizer")
    case = {True: "lower case", False: "cased"}.get(tokenizer.get("lowercase", UNKNOWN))
    case = case or f"case {UNKNOWN}"
    yield f"{told(tokenizer, 'kind')}, {counted(tokenizer.get('vocab_size'))} entries, {case}."
    statistics = tokenizer.get("statistics") or {}
    if "fertility" in statistics:
        yield f"{statistics['fertility']:.3f} tokens a word of validation text."


def pretraining_lines(facts: CardFacts) -> Iterator[str]:
    """The objective, its examples, and how far it came."""
    pretraining, masking = facts.of("pretraining"), facts.of("masking")
    start = pretraining.get("start", UNKNOWN)
    start = start if isinstance(start, str) else start.get("checkpoint", UNKNOWN)
    yield f"Objective {told(pretraining, 'objective')}, started from {start}."
    drawn = masking.get("mask_settings") or {}
    share = drawn.get("mlm_probability")
    shown = f"{100 * share:g} %" if share is not None else UNKNOWN
    lengths = ", ".join(str(length) for length in masking.get("lengths", [])) or UNKNOWN
    yield (
        f"Examples: {told(masking, 'examples')}, sequences of {lengths} tokens; masks: "
        f"{told(masking, 'masks')}, unit {told(masking, 'unit')}, {shown} of the tokens."
    )
    losses = {
        **{f"validation {name}": value for name, value in _numbers(pretraining, "validation")},
        **{f"comparison {name}": value for name, value in _numbers(pretraining, "comparison")},
    }
    reached = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in losses.items())
    yield f"At the end: {reached or UNKNOWN}."
    if pretraining.get("adopted"):
        number = len(pretraining["adopted"])
        yield f"Went on from {number} checkpoint(s) of other code or a shorter budget, by hand."


def _numbers(manifest: Mapping[str, Any], key: str) -> Iterable[tuple[str, float]]:
    return [(n, v) for n, v in (manifest.get(key) or {}).items() if isinstance(v, int | float)]


def compute_lines(facts: CardFacts) -> Iterator[str]:
    """What pre-training took; time and energy are the tracking run's."""
    spent, costs = facts.of("pretraining"), facts.costs
    flops = f"{spent['flops']:.4g}" if spent.get("flops") is not None else UNKNOWN
    yield (
        f"Pre-training: {flops} FLOPs, {counted(spent.get('tokens'))} tokens, "
        f"{counted(spent.get('sequences'))} sequences, {counted(spent.get('steps'))} updates."
    )
    minutes = costs.get("minutes")
    yield f"Time: {f'{minutes:.1f} minutes' if minutes is not None else UNKNOWN}."
    joules = costs.get("energy_joules")
    yield (
        f"Energy: {joules / _JOULES_PER_KWH:.3g} kWh, by the counters of the GPUs or, on a CPU, of "
        "the machine's processors; memory, disks and cooling are in neither."
        if joules
        else f"Energy: {UNKNOWN}, the machine has no counter that could be read."
    )
