import string
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders

from stages.core.errors import ArtifactError
from stages.core.sentences import split_sentences
from stages.encoding.encoder import Encoder, cut_run, load_tokenizer, make_encoder
from stages.encoding.memory import WordMemory
from stages.tokenizer.training import train_vocabulary
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, build_tokenizer

LETTERS = string.ascii_lowercase + string.digits
PUNCTUATION = string.punctuation
ENTRIES = [
    *SPECIAL_TOKENS.values(),
    *PUNCTUATION,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *("the", "harbour", "keep", "##er"),
]
PLAIN = build_tokenizer(ENTRIES, lowercase=True)


def make(tokenizer: Tokenizer = PLAIN, limit: int = 4000) -> Encoder:
    tokenizer.encode_special_tokens = True
    return Encoder(WordMemory(tokenizer, np.dtype("<u2")), "en", limit)


def names(ids: np.ndarray) -> list[str]:
    return [ENTRIES[index] for index in ids]


def test_ids_and_borders_are_those_worked_out_by_hand() -> None:
    part = make().encode(["The keeper. 7!\nHarbour", "a"])
    assert names(part.tokens) == ["the", "keep", "##er", ".", "7", "!", "harbour", "a"]
    assert part.sentence_lengths.tolist() == [4, 2, 1, 1]
    assert part.document_lengths.tolist() == [3, 1]
    assert part.tokens.dtype == np.uint16


def test_what_gives_no_token_is_dropped_and_counted() -> None:
    part = make().encode(["\u200b\n\u0301", "a\n\u200b\nb", "", "\x00"])
    assert names(part.tokens) == ["a", "b"]
    assert part.document_lengths.tolist() == [2]
    assert (part.tally.dropped_sentences, part.tally.dropped_documents) == (4, 3)


def test_no_documents_give_an_empty_part() -> None:
    part = make().encode([])
    assert [len(part.tokens), len(part.sentence_lengths), len(part.document_lengths)] == [0, 0, 0]


def test_a_special_token_written_in_a_text_is_text() -> None:
    part = make().encode(["[MASK] [SEP]"])
    assert names(part.tokens)[:3] == ["[", "m", "##a"]
    assert not set(part.tokens.tolist()) & {0, 1, 2, 3, 4}


def test_a_run_over_the_limit_is_cut_at_white_space_and_counted() -> None:
    part = make(limit=16).encode(["the harbour the keeper the harbour. a b."])
    assert " ".join(names(part.tokens)) == "the harbour the keep ##er the harbour . a b ."
    assert part.sentence_lengths.tolist() == [3, 3, 2, 3]
    assert part.tally.cut_sentences == 1


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("abcd", ["abcd"]),
        ("ab cd", ["ab", "cd"]),
        ("abcdefghij", ["abcd", "efgh", "ij"]),
        ("abcd efgh", ["abcd", "efgh"]),
        ("a b c d e", ["a b", "c d", "e"]),
    ],
)
def test_pieces_are_as_long_as_the_limit_allows(text: str, pieces: list[str]) -> None:
    assert list(cut_run(text, 4)) == pieces


@settings(max_examples=50)
@given(st.text(max_size=100), st.integers(4, 20))
def test_cutting_loses_nothing_but_one_space_a_cut(text: str, limit: int) -> None:
    pieces = list(cut_run(text, limit))
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert all(len(piece) <= limit for piece in pieces)


@given(st.text(LETTERS + string.ascii_uppercase + PUNCTUATION + " \n\t", max_size=400))
def test_decoding_the_ids_gives_the_normalised_text(text: str) -> None:
    part = make().encode([text])
    decoder = decoders.WordPiece(prefix="##", cleanup=False)
    words = PLAIN.pre_tokenizer.pre_tokenize_str(PLAIN.normalizer.normalize_str(text))
    short = [word for word, _ in words if len(word) <= 100]
    if len(short) == len(words):
        assert decoder.decode(names(part.tokens)) == " ".join(short)


@settings(max_examples=100)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_ids_are_the_tokenizers_own_for_each_sentence(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    part = make().encode(texts)
    expected = [
        PLAIN.encode(sentence, add_special_tokens=False).ids
        for text in texts
        for sentence in split_sentences(text, "en")
    ]
    assert part.tokens.tolist() == [index for ids in expected for index in ids]
    assert part.sentence_lengths.tolist() == [len(ids) for ids in expected if ids]
    assert part.document_lengths.sum() == len(part.sentence_lengths)
    assert (part.document_lengths > 0).all()


def test_real_lines_get_the_tokenizers_own_ids(real_data: Path) -> None:
    path = real_data / "corpus" / "wikipedia-00000-of-00004.parquet"
    batch = next(pq.ParquetFile(path).iter_batches(80, columns=["text"]))
    texts = [text[:20_000] for text in batch.column(0).to_pylist()]
    entries = train_vocabulary(lambda: texts, vocab_size=2000, lowercase=True)
    tokenizer = build_tokenizer(entries, lowercase=True)
    part = make(tokenizer).encode(texts)
    starts = np.concatenate([[0], np.cumsum(part.sentence_lengths)])
    sentences = [sentence for text in texts for sentence in split_sentences(text, "en")]
    reference = Tokenizer.from_str(tokenizer.to_str())
    expected = [reference.encode(text, add_special_tokens=False).ids for text in sentences]
    found = np.split(part.tokens, starts[1:-1])
    assert [ids.tolist() for ids in found] == [ids for ids in expected if ids]
    lines = [line for text in texts for line in text.split("\n")]
    by_line = [reference.encode(line, add_special_tokens=False).ids for line in lines]
    assert part.tokens.tolist() == [index for ids in by_line for index in ids]


@pytest.mark.slow
def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path: Path) -> None:
    entries = [*ENTRIES, *(f"w{index}" for index in range(65_537 - len(ENTRIES)))]
    for size, dtype in ((65_536, np.uint16), (65_537, np.uint32)):
        build_tokenizer(entries[:size], lowercase=True).save(str(tmp_path / "tokenizer.json"))
        encoder = make_encoder(tmp_path, "en", 4000)
        part = encoder.encode([f"the {entries[size - 1]}"])
        assert part.tokens.dtype == dtype
        assert part.tokens[-1] == size - 1


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not readable .*run tokenizer again"):
        load_tokenizer(tmp_path)
