import pytest

from stages.core.errors import ArtifactError, SettingsError
from stages.tasks.files import custom_spec, read_files
from stages.tasks.params import CustomTask

INTENTS = {
    "train": "intents/train.csv",
    "dev": "intents/dev.csv",
    "text_columns": ["text"],
    "label_column": "intent",
    "kind": "classification",
    "metrics": ["accuracy", "macro_f1"],
}


def custom(**changes) -> CustomTask:
    return CustomTask.model_validate(INTENTS | changes)


@pytest.fixture
def intents(write):
    write("intents/train.csv", "text,intent", '"hi, you",greet', "buy it,order", "bye,part")
    write("intents/dev.csv", "text,intent", "hello,greet")
    return write


def test_an_available_task_is_read_and_an_absent_one_is_left_out(rte, tmp_path):
    (task,) = read_files(tmp_path, {})
    assert (task.name, task.is_pair, task.is_glue) == ("RTE", True, True)
    assert task.labels == ("entailment", "not_entailment")
    assert task.splits["train"].texts_a == ("A b.", 'C "d.')
    assert task.splits["train"].texts_b == ("A.", "E.")
    assert task.splits["train"].labels == [0, 1]
    assert task.splits["test"].labels is None


def test_a_missing_test_split_is_no_fault(rte, tmp_path):
    (tmp_path / "RTE/test.tsv").unlink()
    (task,) = read_files(tmp_path, {})
    assert set(task.splits) == {"train", "dev"}


def test_another_size_than_the_published_one_is_noted(rte, tmp_path):
    (task,) = read_files(tmp_path, {})
    assert task.note == (
        "train is a subset: 2 of 2,490; dev is a subset: 1 of 277; test is a subset: 1 of 3,000; "
        "scores are not comparable with published ones"
    )


def test_cola_has_no_header_but_in_test(write, tmp_path):
    for split in ("train", "dev"):
        write(f"CoLA/{split}.tsv", "gj04\t1\t\tIt is.", "gj04\t0\t*\tIs it is.")
    write("CoLA/test.tsv", "index\tsentence", "0\tWas it?")
    (task,) = read_files(tmp_path, {})
    assert task.splits["train"].texts_a == ("It is.", "Is it is.")
    assert task.splits["train"].texts_b is None
    assert task.splits["dev"].labels == [1, 0]
    assert task.splits["test"].texts_a == ("Was it?",)


def test_mnli_has_two_dev_and_two_test_sets(write, tmp_path):
    header = "index\tsentence1\tsentence2\tlabel1\tgold_label"
    write("MNLI/train.tsv", header, "0\ta\tb\tneutral\tentailment")
    for name in ("dev_matched", "dev_mismatched"):
        write(f"MNLI/{name}.tsv", header, f"0\t{name}\tb\tneutral\tcontradiction")
    for name in ("test_matched", "test_mismatched"):
        write(f"MNLI/{name}.tsv", "index\tsentence1\tsentence2", f"0\t{name}\tb")
    (task,) = read_files(tmp_path, {})
    assert {name: split.texts_a[0] for name, split in task.splits.items()} == {
        "train": "a",
        "dev": "dev_matched",
        "dev_mismatched": "dev_mismatched",
        "test": "test_matched",
        "test_mismatched": "test_mismatched",
    }
    assert task.splits["train"].labels == [0]
    assert task.splits["dev_mismatched"].labels == [2]


@pytest.mark.parametrize("file", ["AX/test.tsv", "diagnostic/diagnostic.tsv"])
def test_ax_is_an_unlabelled_split_of_mnli_in_either_place(write, tmp_path, file):
    header = "index\tsentence1\tsentence2\tgold_label"
    for split in ("train", "dev_matched"):
        write(f"MNLI/{split}.tsv", header, "0\ta\tb\tneutral")
    write(file, "index\tsentence1\tsentence2", "0\tof\tax")
    (task,) = read_files(tmp_path, {})
    assert list(task.splits) == ["train", "dev", "ax"]
    assert task.splits["ax"].texts_a == ("of",)
    assert task.splits["ax"].labels is None


def test_ax_without_mnli_is_no_task(write, tmp_path):
    write("AX/test.tsv", "index\tsentence1\tsentence2", "0\ta\tb")
    with pytest.raises(ArtifactError, match="no task is there"):
        list(read_files(tmp_path, {}))


def test_scores_of_sts_are_numbers_of_their_range(write, tmp_path):
    header = "index\tsentence1\tsentence2\tscore"
    write("STS-B/train.tsv", header, "0\ta\tb\t5.000", "1\ta\tb\t0")
    dev = write("STS-B/dev.tsv", header, "0\ta\tb\t2.5")
    (task,) = read_files(tmp_path, {})
    assert task.splits["train"].labels == [5.0, 0.0]
    for bad in ("5.1", "nan", "high"):
        dev.write_text(f"{header}\n0\ta\tb\t{bad}\n")
        message = rf"dev\.tsv: line 2: score is '{bad}', expected a number in 0 to 5"
        with pytest.raises(ArtifactError, match=message):
            list(read_files(tmp_path, {}))


def test_a_custom_task_of_several_classes_is_one_more(rte, intents, tmp_path):
    _, task = read_files(tmp_path, {"intents": custom()})
    assert (task.name, task.is_glue, task.is_pair, task.note) == ("intents", False, False, "")
    assert task.labels == ("greet", "order", "part")
    assert task.metrics == ("accuracy", "macro_f1")
    assert task.splits["train"].texts_a == ("hi, you", "buy it", "bye")
    assert task.splits["train"].labels == [0, 1, 2]


def test_a_custom_task_orders_its_classes_itself(intents, tmp_path):
    (task,) = read_files(tmp_path, {"intents": custom(labels=["part", "order", "greet"])})
    assert task.splits["train"].labels == [2, 1, 0]


def test_a_custom_test_set_counts_as_labelled_if_it_has_the_column(intents, tmp_path):
    declared = {"intents": custom(test="intents/test.csv")}
    intents("intents/test.csv", "text", "what")
    assert next(read_files(tmp_path, declared)).splits["test"].labels is None
    intents("intents/test.csv", "text,intent", "what,order")
    assert next(read_files(tmp_path, declared)).splits["test"].labels == [1]


def test_a_custom_regression_of_pairs_in_json_lines(write, tmp_path):
    line = '{"q": "a", "d": "b", "score": 0.25}'
    write("rank/train.jsonl", line, line)
    write("rank/dev.jsonl", line)
    task = CustomTask.model_validate(
        {
            "train": "rank/train.jsonl",
            "dev": "rank/dev.jsonl",
            "text_columns": ["q", "d"],
            "label_column": "score",
            "kind": "regression",
            "metrics": ["spearman"],
        }
    )
    (found,) = read_files(tmp_path, {"rank": task})
    assert (found.labels, found.is_pair) == (None, True)
    assert found.splits["dev"].labels == [0.25]


def test_a_bad_label_is_refused_with_its_line_and_the_classes(rte, tmp_path):
    rte("RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\tentailmnt")
    with pytest.raises(
        ArtifactError,
        match=r"RTE/dev\.tsv: line 2: label is 'entailmnt', expected one of 'entailment', "
        r"'not_entailment' \(did you mean 'entailment'\?\); correct the label",
    ):
        list(read_files(tmp_path, {}))


def test_a_label_that_train_lacks_is_refused(intents, tmp_path):
    intents("intents/dev.csv", "text,intent", "hello,welcome")
    with pytest.raises(ArtifactError, match=r"dev\.csv: line 2: label is 'welcome'"):
        list(read_files(tmp_path, {"intents": custom()}))


def test_one_class_is_no_task(intents, tmp_path):
    intents("intents/train.csv", "text,intent", "a,greet", "b,greet")
    with pytest.raises(ArtifactError, match=r"intents has 1 class in train \(greet\), expected at"):
        list(read_files(tmp_path, {"intents": custom()}))


def test_a_row_with_a_tab_inside_a_text_is_refused_with_its_line(rte, tmp_path):
    rte("RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\ta\tx\tb\tentailment")
    with pytest.raises(ArtifactError, match=r"dev\.tsv: line 2: has 5 columns, expected 4 as in"):
        list(read_files(tmp_path, {}))


def test_the_few_broken_rows_of_qqp_are_left_out_and_counted(write, tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    whole = [f"{n}\t1\t2\ta\tb\t0" for n in range(1999)]
    write("QQP/train.tsv", header, *whole, "7\t1\t2\ta question that")
    write("QQP/dev.tsv", header, *whole)
    (task,) = read_files(tmp_path, {})
    assert (len(task.splits["train"]), task.splits["train"].num_skipped_rows) == (1999, 1)


def test_many_broken_rows_of_qqp_are_refused(write, tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    write("QQP/train.tsv", header, "0\t1\t2\ta\tb\t0", "1\t2")
    write("QQP/dev.tsv", header, "0\t1\t2\ta\tb\t0")
    with pytest.raises(ArtifactError, match="1 of 2 rows have not 6 columns, expected a share of"):
        list(read_files(tmp_path, {}))


def test_an_empty_text_of_a_custom_task_is_refused(intents, tmp_path):
    intents("intents/dev.csv", "text,intent", "hello,greet", "  ,greet")
    with pytest.raises(ArtifactError, match=r"dev\.csv: line 3: a text is empty, expected some in"):
        list(read_files(tmp_path, {"intents": custom()}))


def test_an_empty_text_of_glue_is_kept_since_sizes_are_published(rte, tmp_path):
    rte("RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\t\tb\tentailment")
    (task,) = read_files(tmp_path, {})
    assert task.splits["dev"].texts_a == ("",)


def test_a_header_alone_is_refused(rte, tmp_path):
    rte("RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel")
    with pytest.raises(ArtifactError, match=r"dev\.tsv: holds a header and no example"):
        list(read_files(tmp_path, {}))


def test_a_task_folder_without_its_dev_file_is_refused(rte, tmp_path):
    (tmp_path / "RTE/dev.tsv").unlink()
    with pytest.raises(ArtifactError, match=r"RTE/dev\.tsv: not found, and RTE needs it; add"):
        list(read_files(tmp_path, {}))


def test_a_custom_file_that_is_not_there_is_refused(intents, tmp_path):
    (tmp_path / "intents/dev.csv").unlink()
    with pytest.raises(ArtifactError, match=r"dev\.csv: not found.*correct tasks\.custom\.intents"):
        list(read_files(tmp_path, {"intents": custom()}))


def test_squad_stands_between_glues_tasks_and_the_custom_ones(rte, intents, squad, tmp_path):
    names = [task.name for task in read_files(tmp_path, {"intents": custom()})]
    assert names == ["RTE", "SQuAD", "intents"]


def test_squad_alone_is_a_task(squad, tmp_path):
    assert [task.name for task in read_files(tmp_path, {})] == ["SQuAD"]


def test_a_folder_without_any_task_is_refused(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"no task is there, expected a folder of GLUE's \(CoLA"
    ):
        list(read_files(tmp_path, {}))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"nowhere: not found, expected the folder of the tasks"
    ):
        list(read_files(tmp_path / "nowhere", {}))


@pytest.mark.parametrize("name", ["CoLA", "SQuAD", "sample-own"])
def test_a_taken_name_is_refused(name):
    with pytest.raises(SettingsError, match=rf"tasks\.custom\.{name}: the name is taken"):
        custom_spec(name, custom())


def test_f1_of_three_classes_is_refused(intents, tmp_path):
    with pytest.raises(SettingsError, match="f1 is of two classes and there are 3; use macro_f1"):
        custom_spec("intents", custom(metrics=["f1"], labels=["a", "b", "c"]))
    with pytest.raises(ArtifactError, match="intents has 3 classes in train, and f1 is of two"):
        list(read_files(tmp_path, {"intents": custom(metrics=["f1"])}))


def test_files_of_unknown_suffix_need_their_format_stated():
    with pytest.raises(SettingsError, match=r"intents: format is not stated and the files are"):
        custom_spec("intents", custom(train="a.txt", dev="b.txt"))
    assert custom_spec("intents", custom(train="a", dev="b", format="csv")).format == "csv"
