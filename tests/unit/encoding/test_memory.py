"""The memory: a tokenizer's own ids for every text, real and messy, whatever it has seen before."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stages.encoding import pieces
from stages.encoding.memory import WordMemory
from stages.tokenizer.bpe import train_bpe
from stages.tokenizer.training import train_vocabulary
from stages.tokenizer.wordpiece import build_tokenizer

SEED = "The keeper of the harbour, Mr. O'Neil, won't keep 1,234 boats! Ünïcode and 東京 too."
TEXTS = [SEED, SEED.lower() + " It's a naïve café.", "a  b   c \u3000 d\te"] * 4


def wordpiece(lowercase: bool, texts: list[str], size: int = 100) -> Tokenizer:
    entries = train_vocabulary(lambda: texts, vocab_size=size, lowercase=lowercase)
    return literal(build_tokenizer(entries, lowercase=lowercase))


def byte_level(texts: list[str], size: int = 280) -> Tokenizer:
    return literal(train_bpe(lambda: texts, vocab_size=size, lowercase=True, pad_to_multiple_of=1))


def literal(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer as `load_tokenizer` sets it: special tokens in a text are text."""
    tokenizer.encode_special_tokens = True
    return tokenizer


TOKENIZERS = {
    "wordpiece, uncased": wordpiece(True, TEXTS),
    "wordpiece, cased": wordpiece(False, TEXTS),
    "byte-level BPE": byte_level(TEXTS),
}


def lines_of(text: str) -> list[str]:
    """What the encoder asks for: no line end inside, no white space at the ends."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def assert_own_ids(tokenizer: Tokenizer, seen: WordMemory, lines: list[str]) -> None:
    encoded = seen.encode(lines)
    expected = tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    assert encoded.lengths.tolist() == [len(one.ids) for one in expected]
    assert encoded.tokens.tolist() == [index for one in expected for index in one.ids]
    assert encoded.words.tolist() == [len(line.split()) for line in lines]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_ids_are_the_tokenizers_own(name, data):
    """Any characters, spaces of every kind among them, cold and remembered."""
    tokenizer = TOKENIZERS[name]
    piece = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    space = st.sampled_from(
        [" ", " ", "  ", "\t", "\u00a0", "\u3000", "\x1c", "\x85", "\u200b", "[MASK]", "a" * 101]
    )
    text = "".join(data.draw(st.lists(piece | space | st.sampled_from(SEED.split()), max_size=30)))
    lines = lines_of(text)
    seen = WordMemory(tokenizer, np.dtype("<u2"))
    for _ in range(2):
        assert_own_ids(tokenizer, seen, lines)


def test_a_full_memory_forgets_and_goes_on(monkeypatch):
    monkeypatch.setattr(pieces, "_MOST_PIECES", 10)
    tokenizer = TOKENIZERS["wordpiece, uncased"]
    seen = WordMemory(tokenizer, np.dtype("<u2"))
    for number in range(40):
        assert_own_ids(tokenizer, seen, [SEED, f"the {number} boats of {number * 7}"])
        assert seen._pieces._num_pieces < 60


def test_no_sentence_gives_nothing():
    assert [
        len(column)
        for column in WordMemory(TOKENIZERS["byte-level BPE"], np.dtype("<u2")).encode([])
    ] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uncased", "cased", "byte-level"])
def test_every_real_and_messy_line_gets_the_tokenizers_own_ids(kind, real_data: Path):
    files = [path for path in sorted((real_data / "messy").rglob("*")) if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    for name in ("wikipedia-00000-of-00004", "books-00000-of-00001"):
        source = pq.ParquetFile(real_data / "corpus" / f"{name}.parquet")
        texts += next(source.iter_batches(12, columns=["text"])).column(0).to_pylist()
    lines = [line[:5000] for text in texts for line in lines_of(text[:100_000])]
    lines = [line.strip() for line in lines if line.strip()]
    sample = lines[:: max(1, len(lines) // 4000)]
    if kind == "byte-level":
        tokenizer = byte_level(sample, 2000)
    else:
        tokenizer = wordpiece(kind == "uncased", sample, 8000)
    seen = WordMemory(tokenizer, np.dtype("<u2"))
    for first in range(0, len(lines), 5000):
        assert_own_ids(tokenizer, seen, lines[first : first + 5000])
