"""The whole stage on models of a few thousand weights."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages.core.artifacts import content_hash, write_json, write_manifest
from stages.core.errors import ArtifactError, StorageError, TrackingError
from stages.core.tracking.journal import RunJournal, tracked_run
from stages.core.tracking.store import connect
from stages.registration.params import PromotionRule, RegistrationParams
from stages.registration.run import run
from tests.unit.registration.builders import MANIFESTS, write_predictions

pytestmark = pytest.mark.slow

PARAMS = RegistrationParams(
    encoder_name="cloze-encoder",
    task_prefix="cloze-",
    alias="candidate",
    promote_when=PromotionRule(min_macro_gain=0.0, min_probability=0.95, max_task_loss=0.02),
)
TASKS = {
    "SST-2": {
        "kind": "classification",
        "is_pair": False,
        "metrics": ["accuracy"],
        "content": "sst.dir",
    },
    "STS-B": {"kind": "regression", "is_pair": True, "metrics": ["pearson"], "content": "sts.dir"},
}
PATHS = {
    "evaluation": Path("reports/evaluation.json"),
    "tasks": Path("artifacts/tasks"),
    "pretraining": Path("artifacts/pretraining"),
    "finetuning": Path("artifacts/finetuning"),
    "registration": Path("reports/registration.json"),
    **{name: Path("artifacts") / name for name in ("corpus", "tokenizer", "encoding", "masking")},
}


def _save_models(seed: int) -> None:
    """The encoder and the task models, from one seed, as the stages before leave them."""
    import torch
    from transformers import (
        BertConfig,
        BertForPreTraining,
        BertForSequenceClassification,
        BertTokenizerFast,
    )

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    Path("vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizerFast(vocab="vocab.txt", model_max_length=32)
    shape = {"vocab_size": len(words), "hidden_size": 8, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 32}
    torch.manual_seed(seed)
    heads = {
        PATHS["pretraining"] / "encoder": BertForPreTraining(BertConfig(**shape)),
        PATHS["finetuning"] / "SST-2" / "model": BertForSequenceClassification(
            BertConfig(**shape, id2label={0: "negative", 1: "positive"})
        ),
        PATHS["finetuning"] / "STS-B" / "model": BertForSequenceClassification(
            BertConfig(**shape, num_labels=1, problem_type="regression")
        ),
    }
    for folder, model in heads.items():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _make_artifacts(seed: int) -> None:
    _save_models(seed)
    PATHS["tasks"].mkdir(parents=True, exist_ok=True)
    write_manifest(PATHS["tasks"], "tasks", {"tasks": TASKS})
    for stage, manifest in MANIFESTS.items():
        PATHS[stage].mkdir(parents=True, exist_ok=True)
        write_manifest(PATHS[stage], stage, manifest)
    start = content_hash(PATHS["pretraining"] / "encoder")
    for task in TASKS:
        _write_finetuning(task, start, prediction=seed)
    PATHS["evaluation"].parent.mkdir(exist_ok=True)
    scores = {task: {"encoder": {"accuracy": {"mean": 0.5 + seed / 8}}} for task in TASKS}
    write_json(PATHS["evaluation"], {"tasks": scores})


def _write_finetuning(task: str, start: str, *, prediction: float) -> None:
    folder = PATHS["finetuning"] / task
    columns = {"label": {1: [1.0]}, "prediction": {1: [prediction]}}
    write_predictions(folder / "predictions.parquet", columns)
    write_json(folder / "metrics.json", {"median_seed": 1})
    write_manifest(folder, "finetuning", {"task": task, "start": start, "seeds": [1]})


def _register() -> None:
    journal = RunJournal(f"registration-{os.urandom(4).hex()}")
    journal.start("registration", params={}, tags={})
    run(PARAMS, PATHS, journal)
    journal.append("end", status="FINISHED", tags={}, pid=os.getpid())


def _candidate(name: str) -> Any:
    return connect().client.get_model_version_by_alias(name, "candidate")


def _versions() -> tuple[str, str, str]:
    """The candidate's of the encoder, of a task, and of the encoder that the task is bound to."""
    encoder, task = _candidate("cloze-encoder"), _candidate("cloze-sst-2")
    return str(encoder.version), str(task.version), task.tags["cloze.encoder_version"]


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.slow
def test_what_is_registered_loads_offline_and_is_bound_to_its_origin(mlflow_state: Path) -> None:
    import mlflow

    _make_artifacts(seed=1)
    with tracked_run(
        "pretraining", params={}, inputs={}, outputs={"out": PATHS["pretraining"]}, key="pre"
    ):
        pass
    made = content_hash(PATHS["pretraining"])
    Path("dvc.lock").write_text(
        f"stages:\n  pretraining:\n    outs:\n    - {{path: artifacts/pretraining, md5: {made}}}\n"
    )
    _register()
    encoder, task = _candidate("cloze-encoder"), _candidate("cloze-sts-b")
    producer = connect().find_run("pre")
    assert producer is not None
    assert encoder.tags["artefact.artifacts/pretraining"] == made
    assert encoder.tags["run.artifacts/pretraining"] == producer.info.run_id
    assert producer.info.run_id in encoder.description
    assert encoder.tags["score.STS-B.accuracy"] == "0.625"
    assert task.tags["cloze.encoder_version"] == str(encoder.version)
    own = connect().client.get_run(encoder.run_id)
    assert own.data.tags["cloze.stage"] == "registration"
    fill_mask = mlflow.transformers.load_model("models:/cloze-encoder@candidate")
    assert len(fill_mask("a [MASK] c")) == 5
    pair = mlflow.pyfunc.load_model("models:/cloze-sts-b@candidate")
    long = {"text": "a " * 100, "text_pair": "42"}
    scores = pair.predict([{"text": "a b", "text_pair": "c"}, long])["score"]
    model = mlflow.transformers.load_model("models:/cloze-sts-b@candidate")
    logits = model.model(**model.tokenizer("a b", "c", return_tensors="pt")).logits
    assert scores[0] == pytest.approx(logits.item(), abs=1e-6)  # a score, no sigmoid of one
    single = mlflow.pyfunc.load_model("models:/cloze-sst-2@candidate")
    answers = single.predict([{"text": "42"}, {"text": "a b"}])
    assert set(answers["label"]) <= {"negative", "positive"}
    requirements = Path(mlflow.pyfunc.get_model_dependencies("models:/cloze-sst-2@candidate"))
    names = {line.partition("==")[0] for line in requirements.read_text().split()}
    assert names == {"mlflow", "torch", "transformers"}
    _assert_evidence_and_card(encoder, task)


def _assert_evidence_and_card(encoder: Any, task: Any) -> None:
    """A version holds what a later candidate is compared with, and what a stranger must know."""
    import mlflow

    assert task.tags["cloze.task_hash"] == "sts.dir"
    assert task.tags["cloze.kind"] == "regression"
    assert json.loads(encoder.tags["cloze.task_versions"]) == {
        "cloze-sst-2": "1",
        "cloze-sts-b": str(task.version),
    }
    folder = Path(mlflow.artifacts.download_artifacts("models:/cloze-sts-b@candidate"))
    own = PATHS["finetuning"] / "STS-B"
    for file in ("predictions.parquet", "metrics.json"):
        assert (folder / file).read_bytes() == (own / file).read_bytes()
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlanguage: en\n")
    assert "seed 1" in card
    assert "1,840 for training" in task.description


@pytest.mark.slow
def test_other_predictions_of_the_same_weights_are_another_version(mlflow_state: Path) -> None:
    """What a champion was judged by must not change beneath it."""
    _make_artifacts(seed=1)
    _register()
    start = content_hash(PATHS["pretraining"] / "encoder")
    _write_finetuning("SST-2", start, prediction=0.0)
    _register()
    assert _versions() == ("1", "2", "1")
    assert json.loads(_candidate("cloze-encoder").tags["cloze.task_versions"])["cloze-sst-2"] == "2"
    assert str(_candidate("cloze-sts-b").version) == "1"


@pytest.mark.slow
def test_a_model_that_extracts_answers_keeps_its_own_head(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from transformers import AutoModelForQuestionAnswering, BertConfig, BertForQuestionAnswering

    _make_artifacts(seed=1)
    model = PATHS["finetuning"] / "SST-2" / "model"
    config = BertConfig.from_pretrained(model)
    BertForQuestionAnswering(config).save_pretrained(model)
    task = TASKS["SST-2"] | {"kind": "extraction", "metrics": ["exact_match", "f1"]}
    write_manifest(PATHS["tasks"], "tasks", {"tasks": TASKS | {"SST-2": task}})
    _register()
    folder = mlflow.artifacts.download_artifacts("models:/cloze-sst-2@candidate")
    _, report = AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert (Path(folder) / "predictions.parquet").is_file()


@pytest.mark.slow
def test_the_same_content_is_one_version_and_the_alias_follows_a_return(
    mlflow_state: Path,
) -> None:
    _make_artifacts(seed=1)
    _register()
    first = PATHS["registration"].read_bytes()
    _register()
    assert PATHS["registration"].read_bytes() == first
    assert _versions() == ("1", "1", "1")
    _make_artifacts(seed=2)
    _register()
    assert PATHS["registration"].read_bytes() != first
    assert _versions() == ("2", "2", "2")
    _make_artifacts(seed=1)
    _register()
    assert PATHS["registration"].read_bytes() == first
    assert _versions() == ("1", "1", "1")
    assert json.loads(first)["models"]["cloze-encoder"] == {
        "content_hash": content_hash(PATHS["pretraining"] / "encoder")
    }


def _make_hollow_artifacts() -> None:
    """Manifests and folders without models: enough to be refused."""
    for folder in (
        PATHS["pretraining"] / "encoder",
        *(PATHS["finetuning"] / task / "model" for task in TASKS),
        PATHS["tasks"],
    ):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    write_manifest(PATHS["tasks"], "tasks", {"tasks": TASKS})
    for stage in MANIFESTS:
        PATHS[stage].mkdir(exist_ok=True)
        write_manifest(PATHS[stage], stage, {})
    for task in TASKS:
        _write_finetuning(task, "elsewhere.dir", prediction=0.0)
    PATHS["evaluation"].parent.mkdir()
    scores = {task: {"encoder": {}} for task in TASKS}
    write_json(PATHS["evaluation"], {"tasks": scores})


def test_an_unreachable_server_is_an_error_that_leaves_everything_as_it_was(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_hollow_artifacts()
    PATHS["registration"].write_text("earlier")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"cannot be opened.*start the server.*nothing is lost"):
        _register()
    assert PATHS["registration"].read_text() == "earlier"


def test_a_full_disk_is_named_and_the_earlier_summary_stays(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_hollow_artifacts()
    PATHS["registration"].write_text("earlier")
    monkeypatch.setattr("stages.registration.run._register", lambda *_: {})
    monkeypatch.setattr("stages.registration.registry.Registry.point", lambda *_: None)
    write_text = Path.write_text

    def fail(path: Path, *arguments: Any, **options: Any) -> int:
        if "registration.json" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(StorageError, match=r"registration\.json.*: cannot write: No space left"):
        _register()
    assert PATHS["registration"].read_text() == "earlier"


def test_a_model_folder_that_does_not_load_is_refused(mlflow_state: Path) -> None:
    _make_hollow_artifacts()
    with pytest.raises(ArtifactError, match="encoder: does not load as AutoModelForMaskedLM"):
        _register()
    assert not PATHS["registration"].exists()


def test_a_task_that_no_longer_exists_is_refused(state: Path) -> None:
    _make_hollow_artifacts()
    write_json(PATHS["evaluation"], {"tasks": {"gone": {"encoder": {}}}})
    with pytest.raises(ArtifactError, match="task 'gone' is not in artifacts/tasks"):
        _register()
