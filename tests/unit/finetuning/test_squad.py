"""SQuAD's measures: the published predictions get their scores, and cases worked by hand."""

import csv
import gzip
import json

import numpy as np
import pytest

from stages.finetuning.squad import answer_scores, mean_scores, normalise_answer


def scores(prediction, *golds):
    found = answer_scores([prediction], [golds])
    return found["exact_match"][0], found["f1"][0]


@pytest.fixture(scope="module")
def gold(real_data):
    """Question id -> gold answers of the real development set."""
    with gzip.open(real_data / "squad/dev-v1.1.json.gz") as stream:
        articles = json.load(stream)["data"]
    return {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def test_published_predictions_get_their_scores_to_three_decimals(real_data, gold):
    folder = real_data / "reference/squad_dev_predictions"
    with (folder / "EXPECTED.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    checked = 0
    for row in rows:
        path = folder / f"{row['file']}.gz"
        if not path.is_file():
            continue
        with gzip.open(path) as stream:
            predictions = json.load(stream)
        texts = [predictions.get(question) for question in gold]
        means = mean_scores(answer_scores(texts, list(gold.values())))
        found = {name: f"{100 * value:.3f}" for name, value in means.items()}
        assert found == {"exact_match": row["EM_recomputed"], "f1": row["F1_recomputed"]}, path
        checked += 1
    assert checked >= 2


def test_texts_are_compared_without_case_punctuation_articles_and_spaces():
    assert normalise_answer("  The  U.S.A., an\tally -- of (a) well-known\nfriend ") == (
        "usa ally of wellknown friend"
    )
    assert normalise_answer("theatre and another") == "theatre and another"


def test_only_ascii_punctuation_goes_as_officially():
    assert normalise_answer("«Élan» \u2013 œuvre…") == "«élan» \u2013 œuvre…"
    # A typographic apostrophe ends a word: the article behind it goes.
    assert normalise_answer("l\u2019a an\u2019") == "l\u2019 \u2019"
    assert normalise_answer("l'a") == "la"


def test_an_exact_match_needs_one_gold_answer_alone():
    assert scores("the Broncos", "Denver Broncos", "broncos!") == (1.0, 1.0)


def test_f1_is_of_the_words_in_common_with_the_nearest_gold_answer():
    # 2 of 3 predicted words are right and 2 of 4 are found: 2 * 2/3 * 1/2 / (2/3 + 1/2) = 4/7
    found = scores("big red dog", "red dog of yours", "cat")
    assert found == (0.0, pytest.approx(4 / 7))


def test_a_word_counts_as_often_as_both_texts_have_it():
    # shared once: precision 1/3, recall 1/2
    assert scores("new new new", "new york")[1] == pytest.approx(0.4)


def test_words_of_other_scripts_are_compared_as_they_are():
    assert scores("東京 都", "東京 府") == (0.0, pytest.approx(0.5))
    assert scores("ÉCOLE", "école") == (1.0, 1.0)


def test_an_empty_prediction_is_wrong():
    assert scores("", "x") == (0.0, 0.0)


def test_articles_alone_match_exactly_but_share_no_word_as_officially():
    assert scores("the", "an") == (1.0, 0.0)
    assert scores("", "a") == (1.0, 0.0)


def test_a_question_without_prediction_counts_as_wrong_in_the_mean():
    found = answer_scores(["x", None], [["x"], ["a"]])
    assert mean_scores(found) == {"exact_match": 0.5, "f1": 0.5}
    assert found["exact_match"].tolist() == [1.0, 0.0]


def test_no_question_gives_no_value():
    assert answer_scores([], [])["f1"].shape == (0,)
    assert answer_scores([], [])["f1"].dtype == np.float64
