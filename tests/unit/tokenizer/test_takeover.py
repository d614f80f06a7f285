import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import BPE

from stages.core.artifacts import content_hash
from stages.core.errors import ArtifactError, SettingsError
from stages.core.settings import Checkpoint
from stages.tokenizer.files import save_tokenizer
from stages.tokenizer.takeover import require_bert, take_over
from stages.tokenizer.wordpiece import (
    SPECIAL_TOKENS,
    build_tokenizer,
    entries_in_order,
    normalizer_facts,
)

ENTRIES = [*SPECIAL_TOKENS.values(), "Play", "##ing", "."]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_tokenizer(folder, build_tokenizer(ENTRIES, lowercase=False), model_max_length=96)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 8}))
    return folder


def test_a_local_checkpoint_gives_its_tokenizer_and_length(checkpoint: Path) -> None:
    pinned = Checkpoint(checkpoint=str(checkpoint), revision=content_hash(checkpoint))
    tokenizer, longest = take_over(pinned)
    assert entries_in_order(tokenizer) == ENTRIES
    assert normalizer_facts(tokenizer)["lowercase"] is False
    assert longest == 96
    assert tokenizer.encode("Playing.").ids == [2, 5, 6, 7, 3]


def test_an_old_checkpoint_with_vocab_txt_alone_is_read(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    pinned = Checkpoint(checkpoint=str(checkpoint), revision=content_hash(checkpoint))
    tokenizer, _ = take_over(pinned)
    assert tokenizer.encode("Playing.").ids == [2, 5, 6, 7, 3]


def test_a_changed_checkpoint_is_refused_with_both_hashes(checkpoint: Path) -> None:
    found = content_hash(checkpoint)
    pinned = Checkpoint(checkpoint=str(checkpoint), revision="f" * 32 + ".dir")
    with pytest.raises(SettingsError, match=rf"revision is 'f{{32}}\.dir', .* is '{found}'"):
        take_over(pinned)


def test_a_hub_id_is_read_at_its_commit(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client finds the commit in its own cache, laid out as a download leaves it."""
    cached = tmp_path / "hub" / "models--someone--small-bert" / "snapshots" / COMMIT
    shutil.copytree(checkpoint, cached)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tokenizer, _ = take_over(Checkpoint(checkpoint="someone/small-bert", revision=COMMIT))
    assert entries_in_order(tokenizer) == ENTRIES
    with pytest.raises(ArtifactError, match=r"someone/absent at .*not to be had from the hub"):
        take_over(Checkpoint(checkpoint="someone/absent", revision=COMMIT))


def test_a_branch_pins_nothing() -> None:
    with pytest.raises(SettingsError, match="revision is 'main---', expected the 40 hex digits"):
        take_over(Checkpoint(checkpoint="someone/small-bert", revision="main---"))


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ArtifactError, match="is '/nowhere/at/all': no such folder"):
        take_over(Checkpoint(checkpoint="/nowhere/at/all", revision=COMMIT))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    pinned = Checkpoint(checkpoint=str(tmp_path), revision=content_hash(tmp_path))
    with pytest.raises(ArtifactError, match="its tokenizer cannot be read"):
        take_over(pinned)


def test_another_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"\('BPE', None\), expected \('WordPiece', 'BertNor"):
        require_bert(Tokenizer(BPE()), "somewhere")


def test_a_tokenizer_without_mask_is_refused() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    facts = json.loads(tokenizer.to_str())
    del facts["model"]["vocab"]["[MASK]"]
    facts["added_tokens"] = []
    with pytest.raises(ArtifactError, match=r"somewhere: its tokenizer has no \[MASK\]"):
        require_bert(Tokenizer.from_str(json.dumps(facts)), "somewhere")
