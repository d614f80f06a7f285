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
from stages.tokenizer.kinds import KINDS
from stages.tokenizer.takeover import kind_of, require_roles, take_over
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
    save_tokenizer(
        folder,
        build_tokenizer(ENTRIES, lowercase=False),
        kind="wordpiece",
        special_tokens=SPECIAL_TOKENS,
        model_max_length=96,
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 8}))
    return folder


def test_a_local_checkpoint_gives_its_tokenizer_and_length(checkpoint: Path) -> None:
    pinned = Checkpoint(checkpoint=str(checkpoint), revision=content_hash(checkpoint))
    made = take_over(pinned)
    tokenizer, longest = made.tokenizer, made.model_max_length
    assert (made.kind, dict(made.special_tokens)) == ("wordpiece", SPECIAL_TOKENS)
    assert entries_in_order(tokenizer) == ENTRIES
    assert normalizer_facts(tokenizer)["lowercase"] is False
    assert longest == 96
    assert tokenizer.encode("Playing.").ids == [2, 5, 6, 7, 3]


def test_what_pre_training_made_gives_the_tokenizer_of_its_encoder(
    checkpoint: Path, tmp_path: Path
) -> None:
    above = tmp_path / "pretraining"
    shutil.copytree(checkpoint, above / "encoder")
    made = take_over(Checkpoint(checkpoint=str(above), revision=content_hash(above)))
    assert entries_in_order(made.tokenizer) == ENTRIES


def test_an_old_checkpoint_with_vocab_txt_alone_is_read(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    pinned = Checkpoint(checkpoint=str(checkpoint), revision=content_hash(checkpoint))
    tokenizer = take_over(pinned).tokenizer
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
    made = take_over(Checkpoint(checkpoint="someone/small-bert", revision=COMMIT))
    assert entries_in_order(made.tokenizer) == ENTRIES
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
    with pytest.raises(ArtifactError, match=r"is BPE with nothing, expected WordPiece with Bert"):
        kind_of(Tokenizer(BPE()), "somewhere")


@pytest.mark.parametrize(("kind", "size"), [("bpe", 300), ("unigram", 150)])
def test_other_kinds_are_taken_over_as_what_they_are(kind, size, tmp_path, make_params, texts):
    known = KINDS[kind]
    tokenizer = known.train(lambda: texts, make_params(kind=kind, vocab_size=size))
    roles = known.special_tokens
    save_tokenizer(tmp_path, tokenizer, kind=kind, special_tokens=roles, model_max_length=96)
    pinned = Checkpoint(checkpoint=str(tmp_path), revision=content_hash(tmp_path))
    made = take_over(pinned)
    assert (made.kind, dict(made.special_tokens)) == (kind, dict(roles))
    assert made.tokenizer.encode(texts[0]).ids == tokenizer.encode(texts[0]).ids


def test_a_tokenizer_without_mask_is_refused() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    facts = json.loads(tokenizer.to_str())
    del facts["model"]["vocab"]["[MASK]"]
    facts["added_tokens"] = []
    with pytest.raises(ArtifactError, match=r"somewhere: its tokenizer has no token for mask"):
        require_roles(Tokenizer.from_str(json.dumps(facts)), SPECIAL_TOKENS, "somewhere")
