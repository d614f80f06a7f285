# ruff: noqa: RUF001 (text in other scripts)
import pytest
from sentencex import segment

from stages.core.errors import SettingsError
from stages.core.sentences import SUPPORTED_LANGUAGES, split_sentences


def test_english_sentences_are_split_behind_abbreviations_and_numbers() -> None:
    text = "Dr. Smith paid $3.50 to J. K. Rowling et al. (2010). See fig. 3. It was e.g. late."
    assert split_sentences(text, "en") == [
        "Dr. Smith paid $3.50 to J. K. Rowling et al. (2010).",
        "See fig. 3.",
        "It was e.g. late.",
    ]


def test_a_line_end_is_a_border_and_empty_lines_are_no_sentences() -> None:
    assert split_sentences("A heading\n\n  \r\nOne. Two\n", "en") == ["A heading", "One.", "Two"]


def test_an_empty_text_has_no_sentence() -> None:
    assert split_sentences("", "en") == []


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "今天天气很好。我们去公园吧！", ["今天天气很好。", "我们去公园吧！"]),
        ("hi", "यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("hy", "Սա նախադասություն է։ Այո։", ["Սա նախադասություն է։", "Այո։"]),
        ("de", "Er kam am 3. Mai. Das war gut.", ["Er kam am 3. Mai.", "Das war gut."]),
    ],
)
def test_other_scripts_are_split_at_their_own_full_stops(
    language: str, text: str, expected: list[str]
) -> None:
    assert split_sentences(text, language) == expected


@pytest.mark.parametrize("language", SUPPORTED_LANGUAGES)
def test_every_supported_language_splits_a_question_from_what_follows(language: str) -> None:
    assert split_sentences("Abc def? Ghi jkl", language) == ["Abc def?", "Ghi jkl"]


def test_an_unsupported_language_is_refused_with_the_list() -> None:
    with pytest.raises(SettingsError, match=r"language is 'tlh', expected .*: am, ar, .*, zh"):
        split_sentences("nuqneH", "tlh")


@pytest.mark.parametrize(
    ("text", "num_sentences"),
    [
        ("a" * 2_500_000, 1),
        ("。" * 3, 1),
        ("漢字。" * 30_000, 30_000),
        ("It ended there. " * 30_000, 30_000),
    ],
)
def test_a_line_of_any_length_goes_to_the_library_in_windows(
    text: str, num_sentences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's time grows with the square of a call's text."""
    given: list[int] = []

    def counting(language: str, piece: str) -> list[str]:
        given.append(len(piece))
        return segment(language, piece)

    monkeypatch.setattr("stages.core.sentences.segment", counting)
    assert len(split_sentences(text, "zh")) == num_sentences
    assert max(given) <= 4000
    assert sum(given) < 1.1 * len(text) + 10


def test_windows_lose_nothing_and_move_no_border() -> None:
    sentences = [f"Sentence number {'very ' * (index % 40)}{index}." for index in range(2000)]
    assert split_sentences(" ".join(sentences), "en") == sentences


def test_a_sentence_longer_than_a_window_stays_whole() -> None:
    long = "word " * 5000 + "end."
    assert split_sentences(f"One. {long} Two.", "en") == ["One.", long, "Two."]
