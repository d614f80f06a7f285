"""Encoding and batches: every example once, padded to its batch alone, in a keyed order."""

import json
import shutil

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.core.random import Draws
from stages.finetuning.features import Features, load_tokenizer, shuffled_batches, sorted_batches
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


def three_examples() -> Features:
    return Features(
        ids=np.array([11, 12, 13, 21, 31, 32]),
        types=np.array([0, 0, 1, 0, 0, 1]),
        offsets=np.array([0, 3, 4, 6]),
        pad_token_id=9,
        num_truncated=0,
    )


def test_a_packed_batch_holds_its_examples_behind_each_other_the_shortest_first():
    batch = three_examples().packed(np.array([0, 1, 2]))
    assert batch.examples.tolist() == [1, 2, 0]
    inputs = batch.inputs
    assert inputs["input_ids"].tolist() == [21, 31, 32, 11, 12, 13]
    assert inputs["token_type_ids"].tolist() == [0, 0, 1, 0, 0, 1]
    assert inputs["position_ids"].tolist() == [0, 0, 1, 0, 1, 2]
    assert inputs["read_index"].tolist() == [0, 1, 3]
    assert inputs["layout"].queries.cumulative.tolist() == [0, 1, 3, 6]
    assert inputs["reading"].queries.cumulative.tolist() == [0, 1, 2, 3]


def test_a_padded_batch_ends_with_its_own_longest_and_the_models_padding():
    batch = three_examples().padded(np.array([2, 1]))
    assert batch["input_ids"].tolist() == [[31, 32], [21, 9]]
    assert batch["token_type_ids"].tolist() == [[0, 1], [0, 0]]
    assert batch["attention_mask"].tolist() == [[True, True], [True, False]]


def test_an_empty_text_still_has_its_special_tokens(start):
    assert load_tokenizer(start, 8).encode(examples([""])).ids.tolist() == [2, 3]


@pytest.mark.parametrize("size", [1, 7, 8, 300])
def test_shuffled_batches_hold_every_example_once_in_as_many_batches_as_fit(size):
    lengths = np.random.default_rng(0).integers(3, 60, size)
    batches = shuffled_batches(lengths, 8, draws=Draws(1, "test"), epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(size))
    assert len(batches) == -(-size // 8)


def test_the_order_is_keyed_by_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(3, 60, 300)

    def order(seed, epoch):
        batches = shuffled_batches(lengths, 8, draws=Draws(seed, "test"), epoch=epoch)
        return np.concatenate(batches).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_of_similar_length_need_little_padding():
    lengths = np.random.default_rng(0).integers(4, 64, 2000)
    batches = shuffled_batches(lengths, 32, draws=Draws(1, "test"), epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert lengths.sum() / padded > 0.93  # in random batches of 32 about 0.54


def test_prediction_goes_from_long_to_short_over_every_example_once():
    lengths = np.array([3, 9, 5, 9, 4])
    batches = [batch.tolist() for batch in sorted_batches(lengths, 2)]
    assert batches == [[1, 3], [2, 4], [0]]


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
