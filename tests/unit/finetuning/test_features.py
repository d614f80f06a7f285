"""Encoding and batches: every example once, padded to its batch alone, in a keyed order."""

import json
import shutil

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.finetuning.features import load_features, load_tokenizer
from stages.finetuning.task import TaskExamples


def examples(text_a, text_b=None) -> TaskExamples:
    return TaskExamples(np.arange(len(text_a)), text_a, text_b, None)


def test_a_pair_is_encoded_with_its_types_and_special_tokens(start):
    features = load_tokenizer(start, 32).encode(examples(["good0 bad0"], ["word1"]))
    # 5 special tokens, then good0.. at 5, bad0.. at 25, word0.. at 45
    assert features.ids.tolist() == [2, 5, 25, 3, 46, 3]
    assert features.types.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_pair_too_long_is_cut_from_its_longer_side_and_counted(start):
    long, short = " ".join(["good0"] * 9), "bad0 bad1"
    features = load_tokenizer(start, 8).encode(examples([long, short], [short, short]))
    assert features.ids[:8].tolist() == [2, 5, 5, 5, 3, 25, 26, 3]
    assert features.num_truncated == 1
    assert features.lengths.tolist() == [8, 7]


def test_features_that_were_saved_are_mapped_as_they_were(start, tmp_path):
    made = load_tokenizer(start, 8).encode(examples(["good1 word2", "bad3 " * 9]))
    made.save(tmp_path / "features")
    again = load_features(tmp_path / "features")
    for name in ("ids", "types", "offsets"):
        assert np.array_equal(getattr(again, name), getattr(made, name))
    assert (again.pad_token_id, again.num_truncated) == (0, 1)


def test_an_empty_text_still_has_its_special_tokens(start):
    assert load_tokenizer(start, 8).encode(examples([""])).ids.tolist() == [2, 3]


def changed_start(start, folder, **changes):
    """The start with other entries in its model's config."""
    shutil.copytree(start, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(start, tmp_path):
    folder = changed_start(start, tmp_path / "start", vocab_size=60)
    with pytest.raises(ArtifactError, match="its tokenizer has 65 tokens, its model 60; they do"):
        load_tokenizer(folder, 32)


def test_a_tokenizer_that_pads_with_another_token_is_refused(start, tmp_path):
    folder = changed_start(start, tmp_path / "start", pad_token_id=1)
    with pytest.raises(ArtifactError, match=r"\[PAD\] is token 0 of its tokenizer, but the model"):
        load_tokenizer(folder, 32)


def test_a_start_without_tokenizer_is_refused(start, tmp_path):
    folder = changed_start(start, tmp_path / "start")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer.json: missing; the start of fine-tuning"):
        load_tokenizer(folder, 32)


def test_a_damaged_tokenizer_is_refused(start, tmp_path):
    folder = changed_start(start, tmp_path / "start")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer.json: not readable as a tokenizer"):
        load_tokenizer(folder, 32)
