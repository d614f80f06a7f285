from collections.abc import Mapping, Sequence

import pytest

from stages.evaluation.scores import Measure, TaskScores
from stages.evaluation.summary import (
    AHEAD,
    BEHIND,
    LEVEL,
    averaging_rule,
    describe,
    family,
    judge,
    macro_scores,
    rounded,
    spread,
    verdict_rule,
)


def task(
    name: str, encoder: Mapping[str, Sequence[float]], twin: Mapping[str, Sequence[float]]
) -> TaskScores:
    """Keys are `split/metric`."""
    measures = {key: Measure(*key.split("/")) for key in encoder}
    values = {
        system: {measures[key]: tuple(scores) for key, scores in given.items()}
        for system, given in (("encoder", encoder), ("twin", twin))
    }
    seeds = tuple(range(1, 1 + len(next(iter(encoder.values())))))
    intervals = {
        label: dict.fromkeys(("encoder", "twin", "difference"), (0.1, 0.9))
        for label in (*(measure.label for measure in measures.values()), "score")
    }
    return TaskScores(name, seeds, tuple(measures.values()), values, intervals)


ABOVE, BELOW, ACROSS = (0.01, 0.2), (-0.2, -0.01), (-0.01, 0.2)


def flat(name: str, encoder: Sequence[float], twin: Sequence[float]) -> TaskScores:
    return task(name, {"dev/accuracy": encoder}, {"dev/accuracy": twin})


def test_a_spread_is_mean_median_and_the_sample_deviation():
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.median) == (3.0, 2.0)
    assert found.sd == pytest.approx(7**0.5)


def test_a_single_seed_has_no_deviation():
    assert spread([0.5]).sd is None


def test_means_further_apart_than_twice_the_pooled_deviation_are_told_apart():
    twin = spread([0.40, 0.42, 0.44])  # sd 0.02
    assert judge(spread([0.50, 0.52, 0.54]), twin, ABOVE, 2.0).word == AHEAD
    assert judge(spread([0.30, 0.32, 0.34]), twin, BELOW, 2.0).word == BEHIND
    assert judge(spread([0.43, 0.45, 0.47]), twin, ABOVE, 2.0).word == LEVEL


def test_the_deviations_of_both_systems_are_pooled():
    verdict = judge(spread([0.7, 0.8, 0.9]), spread([0.5, 0.5, 0.5]), ABOVE, 2.0)
    assert verdict.pooled_sd == pytest.approx((0.1**2 / 2) ** 0.5)
    assert verdict.word == AHEAD
    assert judge(spread([0.7, 0.8, 0.9]), spread([0.5, 0.5, 0.5]), ABOVE, 5.0).word == LEVEL


def test_equal_scores_without_any_spread_are_not_distinguishable():
    assert judge(spread([0.5, 0.5]), spread([0.5, 0.5]), ABOVE, 2.0).word == LEVEL


@pytest.mark.parametrize(("interval", "word"), [(ABOVE, AHEAD), (ACROSS, LEVEL), (BELOW, LEVEL)])
def test_a_lead_that_the_examples_leave_open_is_none(interval, word):
    twin = spread([0.40, 0.42, 0.44])
    assert judge(spread([0.50, 0.52, 0.54]), twin, interval, 2.0).word == word


@pytest.mark.parametrize(("interval", "word"), [(BELOW, BEHIND), ((-0.2, 0.01), LEVEL)])
def test_a_lag_that_the_examples_leave_open_is_none(interval, word):
    twin = spread([0.40, 0.42, 0.44])
    assert judge(spread([0.30, 0.32, 0.34]), twin, interval, 2.0).word == word


def test_a_single_seed_tells_nothing_apart():
    assert judge(spread([0.9]), spread([0.1]), ABOVE, 2.0).word == LEVEL


def test_the_verdict_rule_states_its_factor():
    assert "more than 2.5 times the pooled standard deviation" in verdict_rule(2.5)
    assert "95 % interval of the difference lies above 0" in verdict_rule(2.5)


def test_a_sample_task_is_never_glue_whatever_its_manifest_says():
    assert family("sample-acceptability", {"is_glue": True}) == "sample"
    assert family("CoLA", {"is_glue": True}) == "glue"
    assert family("reviews", {"is_glue": False}) == "own"


def test_families_have_macro_scores_of_their_own():
    tasks = [
        flat("CoLA", [0.2, 0.4], [0.0, 0.0]),
        flat("RTE", [0.6, 0.6], [0.5, 0.5]),
        flat("sample-x", [0.9, 0.9], [0.1, 0.1]),
    ]
    families = {"CoLA": "glue", "RTE": "glue", "sample-x": "sample"}
    macros = macro_scores(tasks, families, ())
    assert list(macros) == ["glue", "sample"]
    assert macros["glue"]["encoder"] == pytest.approx(0.45)
    assert macros["glue"]["twin"] == pytest.approx(0.25)
    assert macros["sample"]["encoder"] == pytest.approx(0.9)


def test_the_median_of_a_macro_score_is_that_of_the_seeds_means():
    tasks = [flat("A", [0.1, 0.2, 0.6], [0.0] * 3), flat("B", [0.1, 0.4, 0.2], [0.0] * 3)]
    macro = macro_scores(tasks, {"A": "own", "B": "own"}, ())["own"]
    assert macro["encoder_median"] == pytest.approx(0.3)  # of 0.1, 0.3 and 0.4
    assert macro["encoder"] == pytest.approx(0.8 / 3, abs=1e-6)


def test_the_spread_of_a_macro_score_is_taken_seed_by_seed():
    tasks = [flat("A", [0.2, 0.4], [0.0, 0.0]), flat("B", [0.4, 0.2], [0.0, 0.2])]
    macro = macro_scores(tasks, {"A": "own", "B": "own"}, ())["own"]
    assert macro["encoder_sd"] == pytest.approx(0.0)  # 0.3 with both seeds
    assert macro["twin_sd"] == pytest.approx(0.1 / 2**0.5, abs=1e-6)


def test_a_task_left_out_does_not_count_but_is_named():
    tasks = [flat("RTE", [0.6], [0.5]), flat("WNLI", [0.1], [0.1])]
    macro = macro_scores(tasks, {"RTE": "glue", "WNLI": "glue"}, ("WNLI",))["glue"]
    assert (macro["encoder"], macro["tasks"], macro["left_out"]) == (0.6, ["RTE"], ["WNLI"])
    assert "left out of the mean: WNLI" in macro["rule"]


def test_a_family_whose_tasks_are_all_left_out_has_no_macro_score():
    assert macro_scores([flat("WNLI", [0.1], [0.1])], {"WNLI": "glue"}, ("WNLI",)) == {}


def test_mnli_counts_once_although_it_has_two_development_sets():
    mnli = task(
        "MNLI",
        {"dev/accuracy": [0.8], "dev_mismatched/accuracy": [0.6]},
        {"dev/accuracy": [0.4], "dev_mismatched/accuracy": [0.4]},
    )
    tasks = [mnli, flat("RTE", [0.5], [0.5])]
    macro = macro_scores(tasks, {"MNLI": "glue", "RTE": "glue"}, ())["glue"]
    assert macro["encoder"] == pytest.approx((0.7 + 0.5) / 2)
    assert "MNLI: accuracy and accuracy on dev mismatched" in macro["rule"]
    assert "Several development sets of one task count as one task." in macro["rule"]


def test_the_interval_of_a_macro_difference_adds_up_those_of_its_tasks():
    """Widths 0.8 each: half of sqrt(2) * 0.8 / 2 = 0.283 on either side of the difference."""
    tasks = [flat("CoLA", [0.6, 0.6], [0.2, 0.2]), flat("RTE", [0.5, 0.5], [0.5, 0.5])]
    macro = macro_scores(tasks, {"CoLA": "glue", "RTE": "glue"}, ())["glue"]
    assert macro["difference"] == 0.2
    assert macro["interval"] == pytest.approx([0.2 - 0.282843, 0.2 + 0.282843])
    assert macro_scores(tasks[:1], {"CoLA": "glue"}, ())["glue"]["interval"] == [0.1, 0.9]


def test_the_rule_names_the_glue_tasks_that_were_not_evaluated():
    rule = averaging_rule("glue", [flat("CoLA", [0.1], [0.1]), flat("RTE", [0.1], [0.1])], ())
    assert rule.startswith("Mean over 2 GLUE tasks (CoLA: accuracy; RTE: accuracy).")
    assert "Not evaluated: SST-2, MRPC, STS-B, QQP, MNLI, QNLI and WNLI." in rule


def test_the_rule_says_that_sample_tasks_are_no_glue():
    rule = averaging_rule("sample", [flat("sample-x", [0.1], [0.1])], ())
    assert "they are no part of GLUE" in rule


def test_an_entry_holds_scores_spread_verdict_and_note():
    scores = task(
        "MRPC",
        {"dev/f1": [0.8, 0.8], "dev/accuracy": [0.6, 0.7]},
        {"dev/f1": [0.4, 0.4], "dev/accuracy": [0.3, 0.3]},
    )
    entry = describe(scores, {"is_glue": True, "note": "subset"}, 2.0)
    assert entry["encoder"]["accuracy"] == {
        "mean": 0.65,
        "median": 0.65,
        "sd": 0.070711,
        "seeds": [0.6, 0.7],
    }
    assert entry["score"]["encoder"]["mean"] == 0.725
    assert (entry["verdict"], entry["difference"]) == (AHEAD, 0.375)
    assert entry["intervals"]["score"]["difference"] == [0.1, 0.9]
    assert (entry["is_glue"], entry["note"]) == (True, "subset")


def test_no_number_is_a_negative_zero():
    assert str(rounded(-1e-9)) == "0.0"
