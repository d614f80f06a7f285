import pytest

from stages.core.errors import ArtifactError
from stages.core.python_docs import PythonDocument
from stages.tasks.passages import Passage, find_passages, is_plain, split_passages

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def document(number: int, *paragraphs: str) -> PythonDocument:
    return PythonDocument(f"d{number}", f"d{number}", "\n".join(paragraphs))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The file is closed after use.", True),
        ("The file's end (if any) isn't read-only, is it?", True),
        ("The file is closed.", False),
        ("the file is closed after use.", False),
        ("The file is closed after use", False),
        ("The x1 y_2 3.5 a|b z[0] is.", False),
        (" ".join(["The", *["long"] * 40, "way."]), False),
        ("", False),
    ],
)
def test_a_plain_sentence_is_whole_and_of_words(sentence, expected):
    assert is_plain(sentence) == expected


def test_a_passage_goes_across_paragraphs_and_knows_them():
    found = find_passages(
        [
            document(
                0,
                "The first line is read here. The second line is read next.",
                "The third line is read at last.",
            )
        ]
    )
    assert found == [
        Passage(
            0,
            (
                "The first line is read here.",
                "The second line is read next.",
                "The third line is read at last.",
            ),
            (0, 0, 1),
        )
    ]


def test_a_sentence_that_is_not_plain_or_stood_before_ends_a_passage():
    found = find_passages(
        [
            document(0, "The first line is read here. No. The second line is read next."),
            document(1, "THE FIRST LINE IS READ HERE. The third line is read at last."),
        ]
    )
    assert [(passage.document, passage.sentences) for passage in found] == [
        (0, ("The first line is read here.",)),
        (0, ("The second line is read next.",)),
        (1, ("The third line is read at last.",)),
    ]


def test_a_document_belongs_to_one_split_and_shares_come_near():
    passages = [Passage(number // 3, ("s",) * 5, (0,) * 5) for number in range(900)]
    dealt = split_passages(passages, SHARES, seed=1)
    documents = {split: {passage.document for passage in runs} for split, runs in dealt.items()}
    assert not documents["train"] & (documents["dev"] | documents["test"])
    assert not documents["dev"] & documents["test"]
    assert {split: len(found) for split, found in documents.items()} == {
        "train": 240,
        "dev": 30,
        "test": 30,
    }


def test_the_seed_chooses_the_split():
    passages = [Passage(number, ("s",), (0,)) for number in range(100)]
    dev = [
        [passage.document for passage in split_passages(passages, SHARES, seed=seed)["dev"]]
        for seed in (1, 1, 2)
    ]
    assert dev[0] == dev[1] != dev[2]


def test_too_few_documents_are_refused():
    with pytest.raises(ArtifactError, match=r"1 documents with plain sentences .* left for"):
        split_passages([Passage(0, ("s",), (0,))], SHARES, seed=1)
