"""Section masking: what is accepted, and what is refused with a reason."""

import pytest

from stages.core.errors import SettingsError
from stages.core.settings import parse_section
from stages.masking.params import MaskingParams
from tests.unit.masking.test_run import SETTINGS

SPAN = {"geometric_probability": 0.2, "max_words": 10}


def params(**changes) -> MaskingParams:
    return parse_section(MaskingParams, SETTINGS | changes, where="masking")


def lengths(max_seq_length, cap=None):
    return [{"max_seq_length": max_seq_length, "max_predictions_per_sequence": cap}]


@pytest.mark.parametrize("examples", ["segment-pairs", "full-sentences", "doc-sentences", "single"])
@pytest.mark.parametrize("masks", ["static", "dynamic"])
def test_every_kind_of_examples_goes_with_both_kinds_of_masks(examples, masks):
    made = params(examples=examples, masks=masks, unit="span", span=SPAN, lengths=lengths(64))
    assert made.span is not None
    assert made.lengths[0].max_predictions_per_sequence is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "span"}, "unit is 'span' and span is missing"),
        ({"span": SPAN}, "unit is 'token' and span is given"),
        ({"unit": "span", "span": SPAN | {"max_words": 0}}, r"span\.max_words is 0"),
        (
            {"unit": "span", "span": SPAN | {"geometric_probability": 1.0}},
            r"span\.geometric_probability is 1\.0",
        ),
        (
            {"unit": "span", "span": SPAN, "lengths": lengths(11)},
            r"span\.max_words is 10, expected at most the 9 tokens",
        ),
        ({"lengths": lengths(7)}, r"max_seq_length is 7"),
        (
            {"lengths": lengths(8), "mlm_probability": 0.1},
            r"mlm_probability 0\.1 of 8 tokens is 0\.8, expected at least 1 token",
        ),
        (
            {"lengths": lengths(8), "mlm_probability": 0.9},
            r"of 8 tokens is 7\.2, expected at most the 6 that are not special",
        ),
        (
            {"lengths": lengths(16, 15)},
            r"max_predictions_per_sequence is 15 at max_seq_length 16, expected at most the 14",
        ),
        ({"lengths": lengths(16, 0)}, r"max_predictions_per_sequence is 0"),
        ({"budget_rounding": "up"}, "budget_rounding is 'up'"),
        ({"whole_word_mask": True}, "whole_word_mask is not a known parameter"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        params(**changes)


def test_a_short_length_at_which_the_paper_s_masks_just_fit_is_accepted():
    params(unit="span", span=SPAN, lengths=lengths(12))
    params(lengths=lengths(8, 6))
