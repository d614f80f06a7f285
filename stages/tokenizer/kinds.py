"""The kinds of tokenizer: how each is trained, recognised and named to transformers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from stages.tokenizer import bpe, wordpiece
from stages.tokenizer.params import TokenizerParams
from stages.tokenizer.training import train_vocabulary
from stages.tokenizer.unigram import train_unigram

Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Kind:
    """What tells one kind of tokenizer from another."""

    special_tokens: Mapping[str, str]
    """Role -> token of a new tokenizer."""
    train: Callable[[Texts, TokenizerParams], Tokenizer]
    """Train on texts, and fill the vocabulary up."""
    model: str
    """The class of its model in `tokenizers`."""
    splits_with: str
    """The class that cuts its words, in `tokenizers`."""
    normalizer: str | None
    """The class of its normaliser where later stages rely on it."""
    configure: Callable[[Tokenizer], dict[str, Any]]
    """What transformers must be told beside special tokens: its class and settings."""


def _train_wordpiece(texts: Texts, params: TokenizerParams) -> Tokenizer:
    entries = train_vocabulary(texts, vocab_size=params.vocab_size, lowercase=params.lowercase)
    padded = wordpiece.pad_vocabulary(entries, params.pad_to_multiple_of)
    return wordpiece.build_tokenizer(padded, lowercase=params.lowercase)


def _train_bpe(texts: Texts, params: TokenizerParams) -> Tokenizer:
    return bpe.train_bpe(texts, **_sizes(params))


def _train_unigram(texts: Texts, params: TokenizerParams) -> Tokenizer:
    return train_unigram(texts, **_sizes(params))


def _sizes(params: TokenizerParams) -> dict[str, Any]:
    return params.model_dump(include={"vocab_size", "lowercase", "pad_to_multiple_of"})


def _as_bert(tokenizer: Tokenizer) -> dict[str, Any]:
    """BERT's class: transformers takes the normaliser from here, not from tokenizer.json."""
    normalizer = wordpiece.normalizer_facts(tokenizer)
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": normalizer["lowercase"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
        "strip_accents": normalizer["strip_accents"],
    }


def _as_it_is(_tokenizer: Tokenizer) -> dict[str, Any]:
    """The class that takes everything from tokenizer.json."""
    return {"tokenizer_class": "PreTrainedTokenizerFast"}


KINDS = {
    "wordpiece": Kind(
        wordpiece.SPECIAL_TOKENS,
        _train_wordpiece,
        "WordPiece",
        "BertPreTokenizer",
        "BertNormalizer",
        _as_bert,
    ),
    "bpe": Kind(bpe.SPECIAL_TOKENS, _train_bpe, "BPE", "ByteLevel", None, _as_it_is),
    "unigram": Kind(
        wordpiece.SPECIAL_TOKENS, _train_unigram, "Unigram", "Metaspace", None, _as_it_is
    ),
}
