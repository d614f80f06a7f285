"""The markdown of a finished run: scores, stages, links."""

import json

from pipelines.repro import Outcome
from pipelines.scores import summary

EVALUATION = {
    "tasks": {
        "CoLA": {
            "encoder": {"matthews_correlation": {"mean": 0.25, "sd": 0.0125}},
            "twin": {"matthews_correlation": {"mean": 0.0, "sd": None}},
        }
    },
    "macro": {"glue": {"encoder": 0.25, "twin": 0.0, "rule": "Mean over 1 GLUE task."}},
    "ahead_of_twin": ["CoLA"],
}


def test_scores_stand_beside_the_twins_with_their_deviation(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "evaluation.json").write_text(json.dumps(EVALUATION))
    text = summary(tmp_path, {"corpus": Outcome.SKIPPED}, {"MLflow": "http://here"})
    assert "| CoLA | matthews_correlation | 0.250 ± 0.013 | 0.000 ± - |" in text
    assert "| **macro, glue** | Mean over 1 GLUE task. | 0.250 | 0.000 |" in text
    assert "Ahead of its random twin: CoLA." in text
    assert "| corpus | Skipped |" in text
    assert "- MLflow: [http://here](http://here)" in text


def test_a_run_without_an_evaluation_still_tells_its_stages(tmp_path):
    text = summary(tmp_path, {"corpus": Outcome.RAN}, {"workspace": "/somewhere"})
    assert "### Scores" not in text
    assert "| corpus | Completed |" in text
    assert "- workspace: `/somewhere`" in text
