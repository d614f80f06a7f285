import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import ArtifactError, SettingsError, StorageError
from stages.core.settings import read_yaml
from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import OUTPUTS, SHOWN_SECTIONS, run

REPOSITORY = Path(__file__).resolve().parents[3]
PARAMS = EvaluationParams(macro_score_leaves_out=("WNLI",), clear_difference_deviations=2.0)


def evaluate(workspace: Any) -> dict[str, Any]:
    run(PARAMS, workspace.paths, workspace.journal())
    return json.loads(workspace.paths["evaluation"].read_text(encoding="utf-8"))


def contents(workspace: Any) -> dict[str, bytes]:
    return {name: workspace.paths[name].read_bytes() for name in OUTPUTS}


def test_the_evaluation_holds_scores_verdicts_macro_and_lineage(workspace):
    found = evaluate(workspace)
    similarity = found["tasks"]["sample-similarity"]
    assert similarity["encoder"]["pearson"]["seeds"] == [0.71, 0.72, 0.70]
    assert similarity["score"]["twin"]["mean"] == pytest.approx(0.495)
    assert found["ahead_of_twin"] == ["sample-acceptability", "sample-similarity"]
    assert found["tasks"]["sample-continuation"]["verdict"] == "not distinguishable"
    assert list(found["macro"]) == ["sample"]
    assert found["lineage"]["masking"] == "masking.dir"


def test_the_scores_are_one_line_a_value(workspace):
    evaluate(workspace)
    with workspace.paths["scores"].open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 3 * 2 * (1 + 1 + 2)
    assert lines[0] == {
        "task": "sample-acceptability",
        "system": "encoder",
        "seed": "1",
        "split": "dev",
        "metric": "matthews_correlation",
        "value": "0.31",
    }


def test_a_task_taken_off_the_list_leaves_the_report_though_its_folder_stays(workspace):
    evaluate(workspace)
    assert b"sample-similarity" in contents(workspace)["report"]
    workspace.take_off_the_list("sample-similarity")
    (workspace.paths["finetuning"] / "sample-similarity" / "metrics.json").write_text("damaged")
    found = evaluate(workspace)
    assert sorted(found["tasks"]) == ["sample-acceptability", "sample-continuation"]
    for content in contents(workspace).values():
        assert b"sample-similarity" not in content


def test_a_listed_task_that_was_not_fine_tuned_is_refused(workspace):
    folder = workspace.paths["finetuning"] / "sample-continuation"
    folder.rename(folder.with_name("elsewhere"))
    expected = (
        r"artifacts/finetuning/sample-continuation: missing, but params\.yaml lists "
        r"finetuning\.tasks\.sample-continuation"
    )
    with pytest.raises(ArtifactError, match=expected):
        evaluate(workspace)


def test_a_listed_task_without_metrics_is_refused(workspace):
    (workspace.paths["finetuning"] / "sample-continuation" / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match=r"metrics\.json: missing; run the stage"):
        evaluate(workspace)


def test_a_listed_task_that_no_source_has_is_refused(workspace):
    workspace.settings["CoLA"] = {"start": "artifacts/pretraining/encoder"}
    workspace.list_tasks()
    with pytest.raises(ArtifactError, match=r"holds no task \['CoLA'\], only \['sample-accept"):
        evaluate(workspace)


def test_scores_of_other_seeds_than_the_settings_are_refused(workspace):
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("[1, 2, 3]", "[1, 2, 4]"), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"encoder: scores of the seeds \['1', '2', '3'\]"):
        evaluate(workspace)


def test_nothing_to_evaluate_is_refused(workspace):
    workspace.settings.clear()
    workspace.list_tasks()
    with pytest.raises(SettingsError, match=r"finetuning\.tasks is empty"):
        evaluate(workspace)


def test_an_artefact_of_another_stage_is_refused(workspace):
    workspace.write_manifest("masking", {"stage": "corpus"})
    with pytest.raises(ArtifactError, match="made by 'corpus', expected an artefact of 'masking'"):
        evaluate(workspace)


def test_the_same_input_gives_the_same_bytes(workspace):
    evaluate(workspace)
    first = contents(workspace)
    for name in OUTPUTS:
        workspace.paths[name].unlink()
    evaluate(workspace)
    assert contents(workspace) == first


def test_no_time_path_or_host_is_in_the_outputs(workspace):
    evaluate(workspace)
    everything = b"".join(contents(workspace).values()).decode()
    assert str(Path.cwd()) not in everything
    assert not re.search(r"\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", everything)


def test_only_the_sections_that_dvc_watches_are_shown(workspace):
    stage = read_yaml(REPOSITORY / "dvc.yaml")["stages"]["evaluation"]
    assert set(SHOWN_SECTIONS) == set(stage["params"])
    evaluate(workspace)
    assert b"secret-name" not in contents(workspace)["report"]


def test_a_disk_that_refuses_leaves_the_old_reports(workspace, monkeypatch):
    evaluate(workspace)
    before = contents(workspace)
    workspace.take_off_the_list("sample-similarity")
    write_text = Path.write_text

    def fail(path: Path, *arguments: Any, **options: Any) -> int:
        if "report.html" in path.name:
            raise OSError(28, "No space left on device", str(path))
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        evaluate(workspace)
    assert contents(workspace) == before
    assert sorted(path.name for path in workspace.paths["report"].parent.iterdir()) == [
        "evaluation.json",
        "report.html",
        "scores.csv",
    ]


def test_the_journal_gets_the_mean_scores(workspace):
    evaluate(workspace)
    events = [json.loads(line) for line in workspace.journal().path.read_text().splitlines()]
    values = {key: value for event in events for key, value in event.get("values", {}).items()}
    assert values["sample-acceptability/encoder"] == pytest.approx(0.33)
    assert values["macro.sample/twin"] == pytest.approx((0.01 + 0.603333 + 0.495) / 3, abs=1e-6)


@pytest.mark.slow
def test_the_command_of_dvc_yaml_writes_the_reports(workspace):
    stage = read_yaml(REPOSITORY / "dvc.yaml")["stages"]["evaluation"]
    words = stage["cmd"].split()
    assert words[:3] == ["python", "-m", "stages.evaluation"]
    result = subprocess.run(
        [sys.executable, *words[1:]],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": str(REPOSITORY),
            "CLOZE_STATE": str(Path.cwd() / "state"),
            "CLOZE_TRACKING": "off",
            "PATH": "/usr/bin:/bin",
        },
    )
    assert result.returncode == 0, result.stderr
    assert sorted(stage["outs"]) == sorted(str(workspace.paths[name]) for name in OUTPUTS)
    assert all(workspace.paths[name].is_file() for name in OUTPUTS)
    assert "scored task=sample-similarity" in result.stderr
