import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.core.artifacts import content_hash, read_json, read_manifest, write_manifest
from stages.core.errors import ArtifactError, StorageError
from stages.core.token_store import open_token_store
from stages.core.tracking.journal import RunJournal
from stages.encoding import blocks
from stages.encoding import run as module
from stages.encoding.params import EncodingParams
from stages.encoding.run import run

PARAMS = EncodingParams(max_sentence_characters=1000)
TEXTS = [f"The keeper number {n}. Harbour!\nAnd {'again ' * (n % 7)}so." for n in range(60)]


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOZE_WORKERS", "1")


@pytest.fixture
def encode(
    write_corpus: Callable[..., Path], tokenizer_folder: Path, tmp_path: Path, journal: RunJournal
) -> Callable[..., Path]:
    def run_stage(*texts: list[str], name: str = "encoding") -> Path:
        paths = {"corpus": write_corpus(*texts), "tokenizer": tokenizer_folder}
        run(PARAMS, {**paths, "out": tmp_path / name}, journal)
        return tmp_path / name

    return run_stage


def test_the_store_holds_the_documents_with_their_borders(encode: Callable[..., Path]) -> None:
    out = encode(["The keeper. 7!\nHarbour", "\u200b", "a"])
    store = open_token_store(out, "train")
    assert store.sentences.tolist() == [0, 4, 6, 7, 8]
    assert store.documents.tolist() == [0, 3, 4]
    assert store.word_starts[store.tokens].tolist() == [True, True, False, *[True] * 5]
    manifest = read_manifest(out, "encoding")
    assert manifest["splits"]["train"] == {
        "tokens": 8,
        "sentences": 4,
        "documents": 2,
        "words": 7,
        "bytes": 26,
        "whitespace_words": 5,
        "cut_sentences": 0,
        "dropped_sentences": 1,
        "dropped_documents": 1,
    }


def test_the_manifest_states_what_later_stages_need(
    encode: Callable[..., Path], tokenizer_folder: Path
) -> None:
    out = encode(TEXTS)
    manifest = read_manifest(out, "encoding")
    vocabulary = read_manifest(tokenizer_folder, "tokenizer")
    assert manifest["vocab_size"] == vocabulary["vocab_size"]
    assert manifest["special_token_ids"] == vocabulary["special_token_ids"]
    assert (manifest["dtype"], manifest["language"]) == ("uint16", "en")
    assert manifest["tokenizer_hash"] == content_hash(tokenizer_folder / "tokenizer.json")
    replacements = np.load(out / "replacement_ids.npy")
    assert len(replacements) == manifest["vocab_size"] - 5 - 1


@pytest.mark.slow
def test_one_and_two_workers_write_the_same_bytes(
    encode: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 300)
    one = encode(TEXTS, name="one")
    monkeypatch.setenv("CLOZE_WORKERS", "2")
    two = encode(TEXTS, name="two")
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 10**9)
    monkeypatch.setenv("CLOZE_WORKERS", "1")
    whole = encode(TEXTS, name="whole")
    assert content_hash(one) == content_hash(two) == content_hash(whole)


def test_a_stage_that_failed_late_encodes_no_block_again(
    encode: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[blocks.Block] = []
    encode_block, log_sample = module.encode_block, module._log_sample
    monkeypatch.setattr(
        module, "encode_block", lambda block: encoded.append(block) or encode_block(block)
    )
    monkeypatch.setattr(module, "_log_sample", lambda *_: 1 / 0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 300)
    with pytest.raises(ZeroDivisionError):
        encode(TEXTS, name="one")
    count = len(encoded)
    assert count > 5
    monkeypatch.setattr(module, "_log_sample", log_sample)
    one = encode(TEXTS, name="one")
    assert len(encoded) == count
    assert content_hash(one) == content_hash(encode(TEXTS, name="two"))
    assert len(encoded) == 2 * count


def test_a_sample_is_logged_decoded(
    encode: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        encode(["The keeper. Harbour"])
    assert "text=the keeper." in caplog.text
    assert "text=harbour" in caplog.text


def test_the_speed_goes_to_the_journal_and_not_into_the_artefact(
    encode: Callable[..., Path], journal: RunJournal
) -> None:
    out = encode(TEXTS)
    assert "bytes_per_second" in journal.path.read_text()
    assert "second" not in (out / "manifest.json").read_text()


@pytest.mark.parametrize("texts", [[], ["\u200b", ""]])
def test_a_split_without_text_is_refused(encode: Callable[..., Path], texts: list[str]) -> None:
    with pytest.raises(ArtifactError, match="validation holds no text that gives a token"):
        encode(TEXTS, texts)


def test_a_tokenizer_that_is_not_its_manifests_is_refused(
    encode: Callable[..., Path], tokenizer_folder: Path
) -> None:
    facts = read_json(tokenizer_folder / "manifest.json")
    write_manifest(tokenizer_folder, "tokenizer", {**facts, "vocab_size": 9})
    with pytest.raises(ArtifactError, match=r"tokenizer: vocab_size is \d+, expected 9"):
        encode(TEXTS)


@pytest.mark.parametrize(
    "name", ["word_starts.npy", "validation.tokens.bin", "train.sentences.npy"]
)
def test_a_full_disk_leaves_the_old_store_as_it_was(
    encode: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = content_hash(encode(TEXTS))
    opened = Path.open

    def open_on_full_disk(path: Path, mode: str = "r", **options: object) -> object:
        is_full = path.name == name and mode == "wb"
        return opened(Path("/dev/full") if is_full else path, mode, **options)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises(StorageError, match=r"No space left on device; .*left as it was"):
        encode(TEXTS[:20])
    monkeypatch.undo()
    assert content_hash(tmp_path / "encoding") == before
    assert not list(tmp_path.glob(".*partial"))
