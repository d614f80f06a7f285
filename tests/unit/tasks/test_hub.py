"""The hub source, with a local folder as a stand-in for the repository."""

import pytest

from stages.core.errors import ArtifactError
from stages.core.tracking.journal import RunJournal
from stages.tasks.hub import read_hub
from stages.tasks.params import HubDataset, HubParams, TasksParams
from stages.tasks.run import run

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
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


@pytest.fixture
def with_squad(repository, tmp_path):
    """RTE beside a folder in the form of rajpurkar/squad; returns the settings of both."""
    import datasets

    def write(**splits) -> HubParams:
        folder = tmp_path / "squad"
        lines = ["- config_name: plain_text", "  data_files:"]
        for split, rows in splits.items():
            path = folder / "plain_text" / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            filled = datasets.Dataset.from_list(rows or [asked(0)])
            filled.select(range(len(rows))).to_parquet(path)
            lines += [f"  - split: {split}", f"    path: plain_text/{split}.parquet"]
        (folder / "README.md").write_text(README.format(configs="\n".join(lines)))
        glue = repository(rte=RTE)
        return HubParams(
            path=glue.path,
            revision=REVISION,
            squad=HubDataset(path=str(folder), revision=SQUAD_REVISION),
        )

    return write


def asked(number, text="1843", start=31):
    return {
        "id": f"q{number}",
        "title": "Ada",
        "context": "Ada wrote the first program in 1843.",
        "question": "When?",
        "answers": {"text": [text], "answer_start": [start]},
    }


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


def test_mnli_comes_with_its_four_further_splits_and_the_diagnostic_set(repository):
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
    assert [task.name for task in tasks] == ["MNLI"]
    further = {"dev_mismatched", "test", "test_mismatched", "ax"}
    assert set(tasks[0].splits) == {"train", "dev"} | further
    assert tasks[0].splits["ax"].labels is None
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


def test_squad_comes_behind_glue_where_it_is_asked_for(with_squad):
    _, task = read_hub(with_squad(train=[asked(1), asked(2)], validation=[asked(3)]))
    assert (task.name, task.kind, task.is_glue) == ("SQuAD", "extraction", False)
    (question,) = task.splits["dev"].records
    assert (question.id, question.answers, question.answer_starts) == ("q3", ("1843",), (31,))
    assert len(task.splits["train"]) == 2
    assert task.note.startswith("train is a subset: 2 of 87,599; dev is a subset: 1 of 10,570")


def test_squads_revision_is_asked_for_and_kept(with_squad, monkeypatch, tmp_path):
    import datasets

    asked_for = []
    answer = datasets.load_dataset

    def record(*args, revision):
        asked_for.append(revision)
        return answer(*args, revision=revision)

    monkeypatch.setattr(datasets, "load_dataset", record)
    hub = with_squad(train=[asked(1)], validation=[asked(2)])
    values = {"train_examples": 10, "dev_examples": 10, "test_examples": 10}
    params = TasksParams.model_validate(
        {"source": "hub", "input": "requirements.lock", "seed": 1, "sample": values, "hub": hub}
    )
    run(params, {"out": tmp_path / "out"}, RunJournal("test"))
    assert asked_for == [REVISION, SQUAD_REVISION]
    manifest = (tmp_path / "out/manifest.json").read_text()
    assert f'"squad_revision": "{SQUAD_REVISION}"' in manifest


def test_an_answer_that_does_not_stand_there_is_refused_with_its_row(with_squad):
    hub = with_squad(train=[asked(1), asked(2, start=30)], validation=[asked(3)])
    message = r"squad, train, row 1 \(id q2\): answers\[0\].answer_start is 30, where the context"
    with pytest.raises(ArtifactError, match=message):
        list(read_hub(hub))


def test_answers_without_places_are_refused(with_squad):
    row = asked(1) | {"answers": {"text": ["Ada", "1843"], "answer_start": [0]}}
    hub = with_squad(train=[row], validation=[asked(3)])
    with pytest.raises(ArtifactError, match=r"answers\[1\].answer_start is None, expected a whole"):
        list(read_hub(hub))


def test_a_split_without_a_question_is_refused(with_squad):
    with pytest.raises(ArtifactError, match=r"squad .*cannot be read .*no data"):
        list(read_hub(with_squad(train=[asked(1)], validation=[])))


def test_another_dataset_than_squad_is_refused(with_squad):
    with pytest.raises(ArtifactError, match=r"\['answers', 'context', 'id'\] missing; check tasks"):
        list(read_hub(with_squad(train=[{"question": "a"}], validation=[{"question": "a"}])))
    with pytest.raises(ArtifactError, match=r"has the splits \['test'\], expected \['train', 'v"):
        list(read_hub(with_squad(test=[asked(1)])))
