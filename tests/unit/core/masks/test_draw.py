"""Masks of small batches: units, caps, and rows that hold nothing to mask."""

from dataclasses import replace

import numpy as np
import pytest

from stages.core.examples import Sequences
from stages.core.masks.draw import draw_masks
from stages.core.masks.settings import MaskSettings, MaskVocabulary

TOKENS = MaskSettings("token", 0.5, "nearest", 1.0, 0.0, None, None, 1)
SPANS = replace(TOKENS, unit="span", span_geometric_probability=0.2, max_span_words=10)
VOCABULARY = MaskVocabulary(mask_token_id=4, replacement_ids=np.arange(100, 200))


def sequences_of(*texts, width=8) -> Sequences:
    """[CLS] words [SEP] for each text: a list of words, each a list of ids."""
    ids = np.zeros((len(texts), width), dtype=np.int64)
    is_text, starts, attended = (np.zeros((len(texts), width), dtype=bool) for _ in range(3))
    for row, words in enumerate(texts):
        column = 1
        for word in words:
            starts[row, column] = True
            ids[row, column : column + len(word)] = word
            is_text[row, column : column + len(word)] = True
            column += len(word)
        ids[row, 0], ids[row, column] = 2, 3
        attended[row, : column + 1] = True
    return Sequences(ids, np.zeros_like(ids), attended, ~is_text, starts)


def draw(sequences, settings=TOKENS, cap=None, purpose="test", counters=None):
    rows = np.arange(len(sequences.input_ids))[:, None]
    return draw_masks(
        sequences,
        counters or (0, rows),
        settings=settings,
        max_predictions=cap,
        vocabulary=VOCABULARY,
        purpose=purpose,
    )


def test_tokens_are_chosen_up_to_the_share_of_the_length():
    # 6 tokens with the special ones, half of them: 3 of the 4 words.
    masks = draw(sequences_of([[10], [11], [12], [13]]))
    assert masks.chosen.sum() == 3
    assert masks.shown[masks.chosen].tolist() == [4, 4, 4]
    assert masks.shown[~masks.chosen].tolist().count(4) == 0


def test_the_cap_lowers_the_budget():
    masks = draw(sequences_of([[10], [11], [12], [13]], [[10]]), cap=1)
    assert masks.chosen.sum(axis=1).tolist() == [1, 1]


@pytest.mark.parametrize("unit", ["whole-word", "span"])
def test_a_word_is_masked_whole_or_not_at_all(unit):
    settings = replace(SPANS, unit=unit)
    masks = draw(sequences_of(*[[[10, 11], [12, 13]]] * 40), settings)
    kinds = {tuple(row) for row in masks.chosen[:, 1:5].tolist()}
    # A budget of 3 holds one word of two tokens, and either one is drawn somewhere.
    assert kinds == {(True, True, False, False), (False, False, True, True)}


def test_a_word_longer_than_the_budget_is_left_alone():
    for unit in ("whole-word", "span"):
        settings = replace(SPANS, unit=unit, mlm_probability=0.15)
        masks = draw(sequences_of([[10, 11, 12]]), settings)
        assert not masks.chosen.any()
        assert masks.shown[0].tolist() == [2, 10, 11, 12, 3, 0, 0, 0]


@pytest.mark.parametrize("unit", ["token", "whole-word", "span"])
def test_rows_with_nothing_to_mask_have_no_masks(unit):
    sequences = sequences_of([], [[10]], [])
    masks = draw(sequences, replace(SPANS, unit=unit))
    assert masks.chosen.sum(axis=1).tolist() == [0, 1, 0]
    nothing = draw(sequences_of([], []), replace(SPANS, unit=unit))
    assert not nothing.chosen.any()
    empty = draw(sequences_of(), replace(SPANS, unit=unit))
    assert empty.chosen.shape == empty.shown.shape == (0, 8)


def test_a_random_budget_may_be_nothing():
    """0.15 of 3 tokens: 1 in 45 %, 0 in 55 % of the sequences (400 of them, 5 deviations)."""
    settings = replace(TOKENS, mlm_probability=0.15, budget_rounding="random")
    count = draw(sequences_of(*[[[10]]] * 400), settings).chosen.sum()
    assert abs(count - 180) < 5 * np.sqrt(400 * 0.45 * 0.55)


def test_seed_purpose_and_counters_each_give_other_masks():
    sequences = sequences_of(*[[[10], [11], [12], [13], [14], [15]]] * 50)
    rows = np.arange(50)[:, None]
    first = draw(sequences).chosen
    assert np.array_equal(first, draw(sequences).chosen)
    for other in (
        draw(sequences, replace(TOKENS, seed=2)),
        draw(sequences, purpose="other"),
        draw(sequences, counters=(1, rows)),
    ):
        assert not np.array_equal(first, other.chosen)


def test_a_span_is_shown_one_way_and_tokens_each_their_own():
    """Half [MASK], half as it is: runs are of one kind by span, of both somewhere by token."""
    half = replace(SPANS, mask_token_probability=0.5, mlm_probability=0.6)
    sequences = sequences_of(*[[[10], [11], [12], [13], [14], [15]]] * 100)
    for settings, is_mixed in [(half, False), (replace(half, unit="token"), True)]:
        masks = draw(sequences, settings)
        both = masks.chosen[:, 1:] & masks.chosen[:, :-1]
        is_masked = masks.shown == 4
        assert (both & (is_masked[:, 1:] != is_masked[:, :-1])).any() == is_mixed
