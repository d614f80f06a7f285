"""Filters answer keep, or a reason."""

from stages.corpus.filters import filter_contamination, filter_length


def test_length_is_counted_in_characters_of_the_cleaned_text():
    assert filter_length("", min_document_characters=3) == (False, "empty")
    assert filter_length("ab", min_document_characters=3) == (False, "short")
    assert filter_length("abc", min_document_characters=3) is True


def test_a_cut_document_is_kept_while_little_went_and_enough_is_left():
    limits = {"max_cut_fraction": 0.5, "min_document_characters": 3}
    assert filter_contamination(0.5, "abc", **limits) is True
    assert filter_contamination(0.51, "abc", **limits) == (False, "contaminated")
    assert filter_contamination(0.1, "ab", **limits) == (False, "contaminated")
