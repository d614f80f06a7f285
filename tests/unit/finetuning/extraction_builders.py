"""Tokenizers of the three kinds, and logits that know the answer."""

import numpy as np

from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.features import StartTokenizer
from stages.finetuning.windows import make_windows
from stages.tokenizer.kinds import KINDS
from stages.tokenizer.params import TokenizerParams

TEXTS = [
    "The lighthouse keeper wrote 1843 letters; nobody answered (until $12 arrived in Zürich).",
    "Where did the old fisherman's naïve café open, and who painted the northern stars?",
    "東京は日本の首都です。 สวัสดีชาวโลก и снова здравствуй, мир",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9",
]
SIZES = {"wordpiece": 240, "bpe": 300, "unigram": 160}
SETTINGS = {"stride_tokens": 8, "max_question_tokens": 6, "max_answer_tokens": 30, "num_best": 5}


def settings(**changes) -> ExtractionSettings:
    return ExtractionSettings.model_validate(SETTINGS | changes)


def train_tokenizer(kind, texts=TEXTS * 3, vocab_size=None, lowercase=True) -> StartTokenizer:
    """A tokenizer as the stage makes it; transformers' RoBERTa knows one token type, BERT two."""
    params = TokenizerParams(
        start="scratch",
        kind=kind,
        vocab_size=vocab_size or SIZES[kind],
        pad_to_multiple_of=1,
        lowercase=lowercase,
        sample_bytes=1_000_000,
    )
    return StartTokenizer(KINDS[kind].train(lambda: texts, params), 0, kind != "bpe")


def windows_of(tokenizer, questions, contexts, max_seq_length=24, **changes):
    return make_windows(
        tokenizer,
        questions,
        contexts,
        max_seq_length=max_seq_length,
        settings=settings(**changes),
    )


def perfect_logits(windows, positions):
    """Logits of 1 at each window's answer, or at its first token, and of 0 elsewhere."""
    logits = np.zeros((2, len(windows.features.ids)))
    begins = windows.features.offsets[:-1]
    logits[0, begins + positions.starts] = 1.0
    logits[1, begins + positions.ends] = 1.0
    return logits
