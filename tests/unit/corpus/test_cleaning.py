"""Cleaning of one text, against results written by hand."""

from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.cleaning import clean


def cleaned(text, form="NFC", **settings):
    return clean(text, unicode_form=form, **settings).text


def test_white_space_is_single_and_lines_are_paragraphs():
    assert cleaned("  a\t b\u00a0c \r\n\r\n\n d\u2028e\x0cf ") == "a b c\nd\ne\nf"


def test_control_characters_vanish_and_joiners_stay():
    assert cleaned("\ufeffa\x00b\x07c\u00add\u202ee") == "abcde"
    assert cleaned("ن\u200cم") == "ن\u200cم"


def test_unicode_takes_the_form_that_is_set():
    assert cleaned("e\u0301 ﬁ") == "\u00e9 ﬁ"
    assert cleaned("e\u0301 ﬁ \uff21", "NFKC") == "\u00e9 fi A"


def test_lone_surrogates_are_replaced_and_counted():
    result = clean("a\ud800b\udc80", unicode_form="NFC")
    assert (result.text, result.replaced) == ("a\ufffdb\ufffd", 2)


def test_hard_wrapped_lines_are_joined_up_to_the_next_blank_line():
    text = "The first\nparagraph  goes\non.\n \n\nThe second.\n"
    assert cleaned(text, is_hard_wrapped=True) == "The first paragraph goes on.\nThe second."
    assert cleaned(text) == "The first\nparagraph goes\non.\nThe second."


def test_nothing_but_white_space_is_empty():
    assert cleaned(" \n\t\u3000\r\n", is_hard_wrapped=True) == ""
    assert cleaned(" \n\t\u3000\r\n") == ""


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=60), st.booleans())
def test_cleaning_twice_is_cleaning_once(text, is_hard_wrapped):
    for form in ("NFC", "NFKC"):
        once = cleaned(text, form, is_hard_wrapped=is_hard_wrapped)
        assert cleaned(once, form) == once
        once.encode()
