"""The hub source, with a local folder as a stand-in for the repository."""

import pytest

from stages.core.errors import ArtifactError
from stages.core.tracking.journal import RunJournal
from stages.tasks.hub import read_hub
from stages.tasks.params import HubParams, TasksParams
from stages.tasks.run import run

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
ENTAILMENT = ["entailment", "not_entailment"]
README = """---
configs:
{configs}
---
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Write a folder in the form of nyu-mll/glue; returns its path."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "glue"

    def write(names=ENTAILMENT, label="label", **configurations) -> HubParams:
        lines = []
        for configuration, splits in configurations.items():
            lines += [f"- config_name: {configuration}", "  data_files:"]
            for split, rows in splits.items():
                path = folder / configuration / f"{split}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                columns = {key: [row[key] for row in rows] for key in rows[0]}
                table = datasets.Dataset.from_dict(columns)
                if names:
                    table = table.cast_column(label, datasets.ClassLabel(names=names))
                table.to_parquet(path)
                lines += [f"  - split: {split}", f"    path: {configuration}/{split}.parquet"]
        (folder / "README.md").write_text(README.format(configs="\n".join(lines)))
        return HubParams(path=str(folder), revision=REVISION)

    return write


def pair(label, first="A b.", second="C d."):
    return {"sentence1": first, "sentence2": second, "label": label, "idx": 0}


RTE = {
    "train": [pair(0), pair(1, second="E.")],
    "validation": [pair(1)],
    "test": [pair(-1)],
}


def test_the_hubs_names_become_glues(repository):
    (task,) = read_hub(repository(rte=RTE))
    assert (task.name, task.is_glue, task.labels) == ("RTE", True, tuple(ENTAILMENT))
    assert task.splits["train"].texts_b == ["C d.", "E."]
    assert task.splits["train"].labels == [0, 1]
    assert task.splits["test"].labels is None
    assert task.note.startswith("train is a subset: 2 of 2,490; dev is a subset: 1 of 277")


def test_tasks_come_in_glues_order_with_mnlis_four_further_splits(repository):
    rows = [{"premise": "a", "hypothesis": "b", "label": 2, "idx": 0}]
    unlabelled = [rows[0] | {"label": -1}]
    mnli = {"train": rows, "validation_matched": rows, "validation_mismatched": rows}
    tests = {"test_matched": unlabelled, "test_mismatched": unlabelled}
    tasks = list(
        read_hub(
            repository(
                names=["entailment", "neutral", "contradiction"],
                ax={"test": unlabelled},
                mnli=mnli | tests,
            )
        )
    )
    assert [task.name for task in tasks] == ["MNLI", "AX"]
    assert set(tasks[0].splits) == {"train", "dev", "dev_mismatched", "test", "test_mismatched"}
    assert tasks[0].splits["dev_mismatched"].labels == [2]


def test_the_stage_writes_what_the_hub_holds(repository, tmp_path):
    hub = repository(rte=RTE)
    values = {"train_examples": 10, "dev_examples": 10, "test_examples": 10}
    params = TasksParams.model_validate(
        {"source": "hub", "input": "requirements.lock", "seed": 1, "sample": values, "hub": hub}
    )

    class Journal(RunJournal):
        def metrics(self, values, step=0):
            self.values = values

    journal = Journal("test")
    run(params, {"out": tmp_path / "out"}, journal)
    assert journal.values["examples.RTE.train"] == 2
    assert f'"revision": "{REVISION}"' in (tmp_path / "out/manifest.json").read_text()


def test_every_request_names_the_pinned_revision(repository, monkeypatch):
    import datasets

    asked = []
    for name in ("get_dataset_config_names", "load_dataset"):
        answer = getattr(datasets, name)

        def record(*args, revision, name=name, answer=answer):
            asked.append((name, revision))
            return answer(*args, revision=revision)

        monkeypatch.setattr(datasets, name, record)
    list(read_hub(repository(rte=RTE)))
    assert asked == [("get_dataset_config_names", REVISION), ("load_dataset", REVISION)]


def test_classes_in_another_order_are_refused(repository):
    with pytest.raises(ArtifactError, match="class ids would mean other classes"):
        list(read_hub(repository(names=ENTAILMENT[::-1], rte=RTE)))


def test_a_score_out_of_range_is_refused_with_its_row(repository):
    splits = {"train": [pair(5.0), pair(5.5)], "validation": [pair(1.0)]}
    with pytest.raises(ArtifactError, match=r"stsb, train, row 1: label is 5.5, expected 0 to 5"):
        list(read_hub(repository(names=None, stsb=splits)))


def test_a_half_labelled_split_is_refused(repository):
    splits = RTE | {"validation": [pair(1), pair(-1)]}
    with pytest.raises(ArtifactError, match=r"rte, validation, row 1: label is -1, expected 0 to"):
        list(read_hub(repository(rte=splits)))


def test_missing_columns_are_refused(repository):
    rows = [{"text": "a", "label": 0}]
    with pytest.raises(ArtifactError, match=r"\['sentence1', 'sentence2'\] missing"):
        list(read_hub(repository(rte={"train": rows, "validation": rows})))


def test_a_missing_split_is_refused(repository):
    with pytest.raises(ArtifactError, match=r"has the splits \['train'\], expected \['test', 't"):
        list(read_hub(repository(rte={"train": RTE["train"]})))


def test_a_dataset_without_glues_configurations_is_refused(repository):
    with pytest.raises(ArtifactError, match=r"has the configurations \['other'\], expected GLUE's"):
        list(read_hub(repository(other={"train": RTE["train"]})))


def test_a_dataset_that_cannot_be_reached_is_refused(tmp_path):
    params = HubParams(path=str(tmp_path / "nothing"), revision=REVISION)
    with pytest.raises(ArtifactError, match=r"cannot be read .*check tasks.hub, the network"):
        list(read_hub(params))
