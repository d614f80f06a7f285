"""Fine-tuning a tiny encoder: it learns, repeats to the byte, keeps its twin, refuses bad input."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from transformers import pipeline

from stages.core.artifacts import content_hash, read_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.settings import parse_section
from stages.core.state import state_root
from stages.core.tracking.journal import RunJournal
from stages.finetuning import training
from stages.finetuning.params import FinetuningParams
from stages.finetuning.run import run
from tests.unit.finetuning.conftest import write_task

SETTINGS = {
    "start": "artifacts/pretraining/encoder",
    "max_train_examples": None,
    "max_seq_length": 32,
    "batch_sequences": 8,
    "num_epochs": 3,
    "learning_rate": 5e-3,
    "warmup_fraction": 0.1,
    "weight_decay": 0.01,
}


def params(seeds=(1, 2, 3), **changes) -> FinetuningParams:
    section = {"mode": "full", "seeds": list(seeds), "tasks": {"toy": SETTINGS | changes}}
    return parse_section(FinetuningParams, section, where="finetuning")


def finetune(start, task, out, name="toy", seeds=(1, 2, 3), **changes):
    paths = {"start": start, "task": task, "out": out}
    run(params(seeds, **changes), paths, RunJournal("test"), name)
    return out


def test_it_learns_and_keeps_every_prediction_and_the_median_model(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", num_epochs=10, learning_rate=2e-3)
    facts = read_json(out / "metrics.json")
    scores = {seed: one["accuracy"] for seed, one in facts["systems"]["encoder"]["seeds"].items()}
    assert min(scores.values()) > 0.8
    means = {
        seed: (one["accuracy"] + one["f1"]) / 2
        for seed, one in facts["systems"]["encoder"]["seeds"].items()
    }
    assert means[str(facts["median_seed"])] == sorted(means.values())[1]
    table = pq.read_table(out / "predictions.parquet").to_pandas()
    assert len(table) == 2 * 3 * (40 + 20)
    assert table[table.split == "test"].label.isna().all()
    dev = table[(table.system == "encoder") & (table.seed == 1) & (table.split == "dev")]
    assert (dev.label == dev.prediction).mean() == pytest.approx(scores["1"])
    classify = pipeline("text-classification", model=str(out / "model"), device="cpu")
    chosen = table[(table.system == "encoder") & (table.seed == facts["median_seed"])]
    texts = pq.read_table(task / "dev.parquet").to_pandas()
    for n in range(5):
        row = chosen[(chosen.split == "dev") & (chosen["index"] == n)].iloc[0]
        assert classify(texts.text_a[n])[0]["label"] == f"class{int(row.prediction)}"


@pytest.mark.parametrize(
    "task",
    [
        {"is_pair": True},
        {"kind": "regression", "is_pair": True},
        {"num_classes": 3, "metrics": ["accuracy", "macro_f1"]},
    ],
    ids=["pair", "regression", "three classes"],
)
def test_every_shape_of_task_goes_through_the_same_code(start, tmp_path, task):
    folder = write_task(tmp_path / "task", **task)
    out = finetune(start, folder, tmp_path / "out", seeds=(1,), num_epochs=1)
    facts = read_json(out / "metrics.json")
    assert set(facts["systems"]) == {"encoder", "twin"}
    for one in facts["systems"].values():
        assert set(one["seeds"]["1"]) == set(facts["metrics"])


def test_two_runs_give_identical_bytes_with_and_without_the_kept_twin(start, tmp_path, monkeypatch):
    task = write_task(tmp_path / "task")
    first = finetune(start, task, tmp_path / "one", seeds=(1,), num_epochs=1)
    assert len(list(state_root().glob("twins/*.npz"))) == 1
    second = finetune(start, task, tmp_path / "two", seeds=(1,), num_epochs=1)
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "fresh"))
    third = finetune(start, task, tmp_path / "three", seeds=(1,), num_epochs=1)
    assert content_hash(first) == content_hash(second) == content_hash(third)


def copied_start(start, folder, change):
    """The start with other weights."""
    folder.mkdir()
    for path in start.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_twin_is_not_trained_again_when_only_weights_change(start, tmp_path, monkeypatch):
    task = write_task(tmp_path / "task")
    finetune(start, task, tmp_path / "one", seeds=(1,), num_epochs=1)
    other = copied_start(
        start, tmp_path / "other", lambda weights: {k: v * 1.01 for k, v in weights.items()}
    )
    monkeypatch.setattr("stages.finetuning.run.make_twin", None)
    finetune(other, task, tmp_path / "two", seeds=(1,), num_epochs=1)


def test_the_twin_is_trained_again_when_the_task_changes(start, tmp_path, monkeypatch):
    finetune(start, write_task(tmp_path / "a"), tmp_path / "one", seeds=(1,), num_epochs=1)
    task = write_task(tmp_path / "b", sizes={"train": 80, "dev": 20})
    finetune(start, task, tmp_path / "two", seeds=(1,), num_epochs=1)
    assert len(list(state_root().glob("twins/*.npz"))) == 2


def test_a_start_that_lacks_weights_is_refused(start, tmp_path):
    def without_a_layer(weights):
        return {name: value for name, value in weights.items() if "layer.0.attention" not in name}

    damaged = copied_start(start, tmp_path / "damaged", without_a_layer)
    task = write_task(tmp_path / "task")
    with pytest.raises(ArtifactError, match="lacks weights of the encoder"):
        finetune(damaged, task, tmp_path / "out", seeds=(1,))
    assert not (tmp_path / "out").exists()


def test_at_most_the_stated_number_of_examples_is_used_and_always_the_same(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1, max_train_examples=32)
    assert read_json(out / "manifest.json")["train_examples"] == 32


def test_texts_that_were_cut_are_counted(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1, max_seq_length=8)
    truncated = read_json(out / "manifest.json")["truncated"]
    # Words are two tokens ("good", then a number is unknown to WordPiece), or one; some are cut.
    assert 0 < truncated["train"] <= 160


def test_a_task_that_is_not_set_is_refused(start, tmp_path):
    with pytest.raises(SettingsError, match=r"finetuning.tasks has no 'other', only \['toy'\]"):
        finetune(start, write_task(tmp_path / "task"), tmp_path / "out", name="other")


def test_more_tokens_than_positions_are_refused(start, tmp_path):
    with pytest.raises(SettingsError, match=r"max_seq_length is 64, but the encoder .* knows 32"):
        finetune(start, write_task(tmp_path / "task"), tmp_path / "out", max_seq_length=64)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"sizes": {"train": 20}}, "task toy has no dev example"),
        ({"sizes": {"train": 0, "dev": 20}}, "task toy has no train example"),
        ({"num_classes": 3, "labels": ["a", "b"]}, r"has label 2, expected a class id below 2"),
    ],
)
def test_tasks_that_cannot_be_learnt_are_refused(start, tmp_path, task, message):
    with pytest.raises(ArtifactError, match=message):
        finetune(start, write_task(tmp_path / "task", **task), tmp_path / "out")


def test_a_class_that_train_lacks_is_named(start, tmp_path):
    folder = write_task(tmp_path / "task", num_classes=3)
    table = pq.read_table(folder / "train.parquet").to_pandas()
    table["label"] = table["label"].clip(upper=1)
    table.to_parquet(folder / "train.parquet")
    with pytest.raises(
        ArtifactError, match="dev of task toy has the class class2, which train lacks"
    ):
        finetune(start, folder, tmp_path / "out")


def test_a_loss_that_is_no_number_ends_the_training(start, tmp_path, monkeypatch):
    original = training._loss
    monkeypatch.setattr(
        training, "_loss", lambda *args, **options: original(*args, **options) * np.nan
    )
    with pytest.raises(training.DivergedError, match="the loss is nan in update 1 of"):
        finetune(start, write_task(tmp_path / "task"), tmp_path / "out", seeds=(1,))


def test_an_unlabelled_dev_is_refused(start, tmp_path):
    folder = write_task(tmp_path / "task")
    (folder / "test.parquet").replace(folder / "dev.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["splits"]["test"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="dev of task toy has no labels"):
        finetune(start, folder, tmp_path / "out")
