"""The pipeline as a user runs it: everything once, nothing twice, and exactly what changed.

The tests share one project and run in the order of this file.
"""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
STAGES = [
    "tasks",
    "corpus",
    "tokenizer",
    "encoding",
    "masking",
    "pretraining",
    "finetuning@first",
    "finetuning@second",
    "evaluation",
    "registration",
]


def evaluation(project) -> dict:
    return json.loads((project.root / "reports" / "evaluation.json").read_text())


def test_every_stage_runs_once(project):
    assert sorted(project.ran_first) == sorted(STAGES)


def test_a_second_repro_runs_nothing(project):
    assert project.repro() == []


def test_the_encoder_answers_in_a_stock_fill_mask_pipeline(project):
    encoder = project.root / "artifacts" / "pretraining" / "encoder"
    model, report = AutoModelForMaskedLM.from_pretrained(encoder, output_loading_info=True)
    assert not report["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    assert len(tokenizer) == model.config.vocab_size
    fill = pipeline("fill-mask", model=str(encoder), device="cpu")
    answers = fill(f"The table {tokenizer.mask_token} every row in order.")
    assert len(answers) == 5


def test_the_report_shows_the_encoder_beside_its_twin(project):
    tasks = evaluation(project)["tasks"]
    assert set(tasks) == {"first", "second"}
    for one in tasks.values():
        assert len(one["encoder"]["accuracy"]["seeds"]) == 2
        assert set(one["twin"]) == set(one["encoder"])
    page = (project.root / "reports" / "report.html").read_text()
    assert "first" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_registry_holds_the_encoder_and_its_tasks_bound_to_it(project):
    code = (
        "import json, mlflow;"
        "from stages.core.tracking.store import tracking_uri;"
        "client = mlflow.MlflowClient(tracking_uri());"
        "names = ['cloze-encoder', 'cloze-first', 'cloze-second'];"
        "found = {n: client.get_model_version_by_alias(n, 'candidate') for n in names};"
        "print(json.dumps({n: [v.version, v.tags] for n, v in found.items()}))"
    )
    result = project.run("python", "-c", code)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    encoder_version = found["cloze-encoder"][0]
    for name in ("cloze-first", "cloze-second"):
        assert found[name][1]["cloze.encoder_version"] == str(encoder_version)


def test_the_runs_hash_of_an_output_is_dvcs(project):
    """A run names its output by the hash that dvc.lock gives it, so lineage can be followed."""
    ends = {}
    for path in (project.root / ".cloze" / "journal").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if lines[0].get("stage") == "corpus":
            ends = lines[-1]["tags"]
    assert ends["output.out"] == project.lock["corpus"]["artifacts/corpus"]


@pytest.mark.soak  # each stage by itself in `make test`: its own tests
def test_two_runs_of_every_stage_up_to_the_encoder_give_identical_bytes(project):
    """Fine-tuning's bytes are those of tests/unit/finetuning/test_run.py."""
    before = project.lock
    project.run("rm", "-rf", str(project.root / ".cloze" / "checkpoints"))
    encoders = STAGES[: STAGES.index("pretraining") + 1]
    assert sorted(project.repro("--force", "pretraining")) == sorted(encoders)
    assert project.lock == before


def test_a_changed_setting_of_one_task_runs_that_task_and_what_follows(project):
    tasks = project.params["finetuning"]["tasks"]
    tasks["first"] = {**tasks["first"], "max_seq_length": 24}
    project.change({"finetuning": {"tasks": tasks}})
    assert project.repro() == ["finetuning@first", "evaluation", "registration"]


def test_a_task_that_fails_holds_up_nothing_but_itself_and_the_evaluation(project):
    tasks = project.params["finetuning"]["tasks"]
    tasks["first"] = {**tasks["first"], "max_seq_length": 28}
    sound = tasks["second"]
    project.change({"finetuning": {"tasks": {**tasks, "second": {**sound, "max_seq_length": 64}}}})
    result = project.run("dvc", "repro", "--keep-going")
    assert result.returncode != 0
    assert "finetuning.tasks.second.max_seq_length is 64, but the encoder" in result.stderr
    said = result.stdout + result.stderr
    assert "Running stage 'finetuning@first'" in said
    assert "Running stage 'evaluation'" not in said
    project.change({"finetuning": {"tasks": {**tasks, "second": sound}}})
    assert project.repro("evaluation") == ["evaluation"]  # the second is as it was before


def test_a_task_taken_off_the_list_leaves_the_report(project):
    tasks = project.params["finetuning"]["tasks"]
    project.change({"finetuning": {"tasks": {"first": tasks["first"]}}})
    assert project.repro("evaluation") == ["evaluation"]
    assert set(evaluation(project)["tasks"]) == {"first"}
    assert (project.root / "artifacts" / "finetuning" / "second").is_dir()
    project.change({"finetuning": {"tasks": tasks}})


def test_a_new_document_runs_the_corpus_and_a_return_is_restored_without_running(project):
    project.add_document("new", ["The model reads a new document in its own words."] * 20)
    assert project.repro("corpus") == ["corpus"]
    (Path(project.root) / "data" / "documents" / "new.txt").unlink()
    assert project.repro("corpus") == []


def test_a_misspelt_parameter_is_refused_before_anything_runs(project):
    before = (project.root / "params.yaml").read_text()
    project.change({"masking": {"mlm_probabilty": 0.2}})
    result = project.run("python", "-m", "pipelines", "check")
    (project.root / "params.yaml").write_text(before)
    assert result.returncode == 2
    assert "masking.mlm_probabilty is not a known parameter; did you mean" in result.stderr
