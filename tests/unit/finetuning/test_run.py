"""Fine-tuning a tiny encoder: it learns, repeats to the byte, keeps its twin, refuses bad input."""

import json
import shutil

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from stages.core.artifacts import content_hash, read_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.settings import parse_section
from stages.core.state import state_root
from stages.core.tracking.journal import RunJournal
from stages.finetuning import worker
from stages.finetuning.frozen import PooledClassifier
from stages.finetuning.params import FinetuningParams
from stages.finetuning.run import run
from tests.unit.finetuning.builders import copied_start, section, write_task

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Members are trained in this process, where the run's own tests look."""
    monkeypatch.setenv("CLOZE_WORKERS", "1")


def params(seeds=(1, 2, 3), **changes) -> FinetuningParams:
    return parse_section(FinetuningParams, section(seeds, **changes), where="finetuning")


def events(journal: RunJournal) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its (step, value) pairs."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in journal.path.read_text().splitlines():
        event = json.loads(line)
        for name, value in event["values"].items():
            series.setdefault(name, []).append((event["step"], value))
    return series


def finetune(start, task, out, name="toy", seeds=(1, 2, 3), **changes):
    paths = {"start": start, "task": task, "out": out}
    run(params(seeds, **changes), paths, RunJournal("test"), name)
    return out


def test_it_learns_and_keeps_every_prediction_and_the_median_model(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", num_epochs=12, batch_sequences=32)
    facts = read_json(out / "metrics.json")
    scores = {
        int(seed): (one["accuracy"] + one["f1"]) / 2
        for seed, one in facts["systems"]["encoder"]["seeds"].items()
    }
    assert min(scores.values()) > 0.8
    assert scores[facts["median_seed"]] == sorted(scores.values())[1]
    table = pq.read_table(out / "predictions.parquet").to_pandas()
    assert len(table) == 2 * 3 * (40 + 20)
    assert table[table.split == "test"].label.isna().all()
    dev = table[(table.system == "encoder") & (table.seed == 1) & (table.split == "dev")]
    accuracy = facts["systems"]["encoder"]["seeds"]["1"]["accuracy"]
    assert (dev.label == dev.prediction).mean() == pytest.approx(accuracy)
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
    assert len(list(state_root().glob("members/*.npz"))) == 2
    second = finetune(start, task, tmp_path / "two", seeds=(1,), num_epochs=1)
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "fresh"))
    third = finetune(start, task, tmp_path / "three", seeds=(1,), num_epochs=1)
    assert content_hash(first) == content_hash(second) == content_hash(third)


def test_members_side_by_side_in_processes_of_their_own_give_the_same_bytes(
    start, tmp_path, monkeypatch
):
    task = write_task(tmp_path / "task")
    alone = finetune(start, task, tmp_path / "alone", num_epochs=1)
    monkeypatch.setenv("CLOZE_WORKERS", "2")
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "fresh"))
    together = finetune(start, task, tmp_path / "together", num_epochs=1)
    assert content_hash(alone) == content_hash(together)
    assert events(RunJournal("test"))["encoder/seed-2/dev_score"]


def test_a_stopped_sweep_goes_on_behind_its_finished_members(start, tmp_path, monkeypatch):
    task = write_task(tmp_path / "task")
    whole = finetune(start, task, tmp_path / "whole", num_epochs=1)
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "fresh"))
    trained = []
    original = worker.train_member

    def stopped(order):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(order.member)
        return original(order)

    monkeypatch.setattr(worker, "train_member", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune(start, task, tmp_path / "out", num_epochs=1)
    assert not (tmp_path / "out").exists()
    trained.clear()
    monkeypatch.setattr(worker, "train_member", lambda order: trained.append(1) or original(order))
    again = finetune(start, task, tmp_path / "out", num_epochs=1)
    assert len(trained) in (
        3,
        4,
    )  # the rest, and the median's weights where only its result is kept
    assert content_hash(again) == content_hash(whole)


def test_early_stop_takes_the_best_epoch_and_trains_no_further(start, tmp_path):
    task = write_task(tmp_path / "task")
    changes = {"seeds": (1,), "num_epochs": 20, "learning_rate": 2e-2, "early_stop_epochs": 2}
    out = finetune(start, task, tmp_path / "out", **changes)
    curve = read_json(out / "curves.json")["encoder"]["1"]
    scores = [epoch["dev_score"] for epoch in curve]
    best = scores.index(max(scores))
    assert len(curve) == min(20, best + 3)
    taken = read_json(out / "metrics.json")["systems"]["encoder"]["seeds"]["1"]
    assert (taken["accuracy"] + taken["f1"]) / 2 == pytest.approx(scores[best])


def test_a_protocol_of_several_settings_says_what_was_searched_and_taken(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(
        start, task, tmp_path / "out", seeds=(1, 2), num_epochs=1, learning_rate=[1e-9, 1e-2]
    )
    for system, selection in read_json(out / "metrics.json")["selection"].items():
        tried = selection["members"]
        assert [one["settings"]["learning_rate"] for one in tried] == [1e-9, 1e-2]
        (chosen,) = (one for one in tried if one["is_chosen"])
        assert chosen["dev_score"] == max(one["dev_score"] for one in tried)
        trainings = read_json(out / "manifest.json")["trainings"]
        assert trainings[system]["learning_rate"] == chosen["settings"]["learning_rate"]


@pytest.mark.parametrize("features", ["last", "mean", "weighted"])
def test_a_frozen_encoder_leaves_its_weights_as_they_were(start, tmp_path, features):
    task = write_task(tmp_path / "task")
    out = finetune(
        start, task, tmp_path / "out", seeds=(1,), num_epochs=2, mode="frozen", features=features
    )
    manifest = read_json(out / "manifest.json")
    assert (manifest["mode"], manifest["features"]) == ("frozen", features)
    before, after = (
        load_file(start / "model.safetensors"),
        load_file(out / "model/model.safetensors"),
    )
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(
        before[f"bert.{name}"], after[f"bert.{name}" if features == "last" else name]
    )


def test_what_a_frozen_encoder_says_is_computed_once_for_all_seeds(start, tmp_path, monkeypatch):
    computed = []
    original = PooledClassifier.fixed

    def watched(self, features):
        computed.append(1)
        return original(self, features)

    monkeypatch.setattr(PooledClassifier, "fixed", watched)
    task = write_task(tmp_path / "task")
    finetune(start, task, tmp_path / "out", num_epochs=1, mode="frozen", features="mean")
    assert len(computed) == (1 + 3) * 3  # of three splits: the encoder, and a twin for each seed


def test_a_tasks_model_is_a_start_for_another_task(start, tmp_path):
    first = finetune(
        start,
        write_task(tmp_path / "three", num_classes=3, metrics=["accuracy"]),
        tmp_path / "first",
        seeds=(1,),
        num_epochs=1,
    )
    out = finetune(
        first / "model", write_task(tmp_path / "two"), tmp_path / "out", seeds=(1,), num_epochs=1
    )
    assert read_json(out / "model" / "config.json")["id2label"] == {"0": "class0", "1": "class1"}


def test_the_twin_is_not_trained_again_when_only_weights_change(start, tmp_path, monkeypatch):
    task = write_task(tmp_path / "task")
    finetune(start, task, tmp_path / "one", seeds=(1,), num_epochs=1)
    other = copied_start(
        start, tmp_path / "other", lambda weights: {k: v * 1.01 for k, v in weights.items()}
    )
    monkeypatch.setattr("stages.finetuning.worker.make_twin", None)
    finetune(other, task, tmp_path / "two", seeds=(1,), num_epochs=1)
    one, two = (pq.read_table(tmp_path / name / "predictions.parquet") for name in ("one", "two"))
    twins = [table.filter(pc.field("system") == "twin") for table in (one, two)]
    assert twins[0].equals(twins[1])
    assert not one.equals(two)


def test_the_twin_is_trained_again_when_the_task_changes(start, tmp_path, monkeypatch):
    finetune(start, write_task(tmp_path / "a"), tmp_path / "one", seeds=(1,), num_epochs=1)
    task = write_task(tmp_path / "b", sizes={"train": 80, "dev": 20})
    finetune(start, task, tmp_path / "two", seeds=(1,), num_epochs=1)
    assert len(list(state_root().glob("members/*.npz"))) == 4


def test_a_start_that_lacks_weights_is_refused_and_nothing_is_left(start, tmp_path):
    def without_a_layer(weights):
        return {name: value for name, value in weights.items() if "layer.0.attention" not in name}

    damaged = copied_start(start, tmp_path / "damaged", without_a_layer)
    task = write_task(tmp_path / "task")
    with pytest.raises(ArtifactError, match="lacks weights of the encoder"):
        finetune(damaged, task, tmp_path / "out", seeds=(1,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "task"]


def test_at_most_the_stated_number_of_examples_is_used(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1, max_train_examples=32)
    manifest = read_json(out / "manifest.json")
    assert manifest["train_examples"] == 32
    assert manifest["examples"] == {"train": 32, "dev": 40, "test": 20}


def test_texts_that_were_cut_are_counted(start, tmp_path):
    task = write_task(tmp_path / "task")
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1, max_seq_length=8)
    truncated = read_json(out / "manifest.json")["truncated"]
    # [CLS], 4 to 10 words of one token each, [SEP]: more than 6 words are cut
    texts = pq.read_table(task / "dev.parquet").column("text_a").to_pylist()
    assert truncated["dev"] == sum(len(text.split()) > 6 for text in texts) > 0


def test_a_task_that_is_not_set_is_refused(start, tmp_path):
    with pytest.raises(SettingsError, match=r"finetuning.tasks has no 'other', only \['toy'\]"):
        finetune(start, write_task(tmp_path / "task"), tmp_path / "out", name="other")


def test_more_tokens_than_positions_are_refused(start, tmp_path):
    with pytest.raises(SettingsError, match=r"max_seq_length is 64, but the encoder .* knows 32"):
        finetune(start, write_task(tmp_path / "task"), tmp_path / "out", max_seq_length=64)


def test_a_folder_that_holds_no_encoder_is_refused(start, tmp_path):
    with pytest.raises(ArtifactError, match="nowhere: missing; run the stage that makes it"):
        finetune(tmp_path / "nowhere", write_task(tmp_path / "task"), tmp_path / "out")


def test_further_dev_splits_are_scored_below_their_name(start, tmp_path):
    sizes = {"train": 80, "dev": 20, "dev_mismatched": 20, "test_mismatched": 10}
    task = write_task(tmp_path / "task", sizes=sizes)
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1)
    facts = read_json(out / "metrics.json")
    for system in facts["systems"].values():
        assert set(system["seeds"]["1"]) == {"accuracy", "f1", "dev_mismatched"}
        assert set(system["seeds"]["1"]["dev_mismatched"]) == {"accuracy", "f1"}
    splits = pq.read_table(out / "predictions.parquet").column("split").to_pylist()
    assert set(splits) == {"dev", "dev_mismatched", "test_mismatched"}


def test_the_journal_gets_losses_dev_scores_and_speed(start, tmp_path, monkeypatch):
    monkeypatch.setenv("CLOZE_LOG_INTERVAL_STEPS", "8")
    task = write_task(tmp_path / "task")
    finetune(start, task, tmp_path / "out", seeds=(7,), num_epochs=2)
    series = events(RunJournal("test"))
    for system in ("encoder", "twin"):
        losses = series[f"{system}/seed-7/train_loss"]
        assert [step for step, _ in losses] == [8, 16, 20, 24, 32, 40]  # 20 updates an epoch
        dev = series[f"{system}/seed-7/dev_score"]
        assert [step for step, _ in dev] == [20, 40]
        assert series[f"{system}/score"] == [(7, pytest.approx(dev[-1][1]))]
        assert series[f"{system}/seed-7/examples_per_second"][0][1] > 0


def test_a_model_that_says_the_same_of_everything_is_noted(start, tmp_path):
    task = write_task(tmp_path / "task", metrics=["matthews_correlation"])
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1, learning_rate=1e-9)
    facts = read_json(out / "metrics.json")
    for system, one in facts["systems"].items():
        is_noted = 1 in facts["constant_predictions"][system]
        assert is_noted == (one["seeds"]["1"]["matthews_correlation"] == 0.0)
    assert facts["constant_predictions"]["twin"] == [1]


def test_regression_predictions_are_raw_and_its_model_says_so(start, tmp_path):
    task = write_task(tmp_path / "task", kind="regression", is_pair=True)
    out = finetune(start, task, tmp_path / "out", seeds=(1,), num_epochs=1)
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    assert [[value] for value in table["prediction"]] == table["scores"]
    config = read_json(out / "model" / "config.json")
    assert config["problem_type"] == "regression"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert list(config["id2label"].values()) == ["toy"]


def test_examples_that_are_not_what_the_tasks_stage_wrote_are_refused_by_file(start, tmp_path):
    task = write_task(tmp_path / "task")
    other = write_task(tmp_path / "other", num_classes=3, metrics=["accuracy"])
    shutil.copyfile(other / "train.parquet", task / "train.parquet")
    with pytest.raises(ArtifactError, match=r"train.parquet has the hash .* run tasks again"):
        finetune(start, task, tmp_path / "out")
    assert not (tmp_path / "out").exists()
