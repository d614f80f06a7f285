"""The zip for GLUE's server: exact layout and words, and each way to break it found."""

import json
import zipfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation import submission
from stages.evaluation.commands import COMMANDS
from stages.evaluation.submission import FILES, faults_of, write_submission

SIZES = {file.name: file.size for file in FILES}


@pytest.fixture(autouse=True)
def _small_qqp(monkeypatch):
    """Its 390,965 rows say no more than a hundred, and take half a second each time."""
    files = tuple(replace(one, size=100) if one.task == "QQP" else one for one in FILES)
    monkeypatch.setattr(submission, "FILES", files)


def test_the_sizes_are_the_benchmarks():
    assert sum(SIZES.values()) == 426_309
    assert SIZES["QQP.tsv"] == 390_965


def write_predictions(folder, splits, seed=2):
    """What fine-tuning keeps of one task: two seeds of both systems, in a shuffled order."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"median_seed": seed}))
    rows = [
        {
            "system": system,
            "seed": number,
            "split": split,
            "index": index,
            "prediction": float(value if (system, number) == ("encoder", seed) else 0),
        }
        for system in ("encoder", "twin")
        for number in (1, 2)
        for split, values in splits.items()
        for index, value in reversed(list(enumerate(values)))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions.parquet")


@pytest.fixture
def submitted(tmp_path):
    write_predictions(tmp_path / "RTE", {"dev": [1] * 277, "test": [1, 0] * 1500})
    write_predictions(tmp_path / "STS-B", {"test": [n % 6 for n in range(1379)]})
    write_predictions(
        tmp_path / "MNLI",
        {"test": [2] * 9796, "test_mismatched": [1] * 9847, "ax": [0, 2] * 552},
    )
    out = tmp_path / "reports" / "glue-submission.zip"
    facts = write_submission(tmp_path, ["RTE", "STS-B", "MNLI"], out)
    return out, facts


def lines_of(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode().splitlines()


def test_it_holds_the_eleven_files_with_header_order_and_words(submitted):
    out, _ = submitted
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == list(SIZES)
    assert lines_of(out, "RTE.tsv")[:3] == [
        "index\tprediction",
        "0\tnot_entailment",
        "1\tentailment",
    ]
    assert lines_of(out, "STS-B.tsv")[6] == "5\t5.000"
    assert set(lines_of(out, "MNLI-m.tsv")[1:]) == {f"{n}\tcontradiction" for n in range(9796)}
    assert lines_of(out, "MNLI-mm.tsv")[-1] == "9846\tneutral"
    assert lines_of(out, "AX.tsv")[1:3] == ["0\tentailment", "1\tcontradiction"]
    assert faults_of(out) == []


def test_a_task_without_a_model_is_a_stated_constant(submitted):
    out, facts = submitted
    assert set(lines_of(out, "CoLA.tsv")[1:]) == {f"{n}\t0" for n in range(1063)}
    assert facts["CoLA.tsv"] == "0 everywhere: no model of CoLA predicts its test set"
    assert facts["RTE.tsv"] == "3000 predictions by the encoder's median dev seed"
    assert json.loads(out.with_suffix(".json").read_text()) == facts


def test_the_same_predictions_give_the_same_bytes(submitted, tmp_path):
    out, _ = submitted
    other = tmp_path / "again.zip"
    write_submission(tmp_path, ["RTE", "STS-B", "MNLI"], other)
    assert other.read_bytes() == out.read_bytes()


def test_a_task_off_the_list_is_not_looked_at(submitted, tmp_path):
    facts = write_submission(tmp_path, ["RTE"], tmp_path / "other.zip")
    assert "everywhere" in facts["STS-B.tsv"]


def test_a_test_set_that_is_not_the_benchmarks_is_refused(tmp_path):
    write_predictions(tmp_path / "WNLI", {"test": [0] * 100})
    with pytest.raises(ArtifactError, match="100 predictions for test of WNLI, expected the"):
        write_submission(tmp_path, ["WNLI"], tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_no_model_of_glue_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"no test predictions .* only \['sample-similarity'\]"):
        write_submission(tmp_path, ["sample-similarity"], tmp_path / "out.zip")


def changed(out, name, change):
    """The zip with one file's lines changed; None takes the file out."""
    with zipfile.ZipFile(out) as archive:
        texts = {one: archive.read(one).decode() for one in archive.namelist()}
    lines = change(texts.pop(name).splitlines())
    if lines is not None:
        texts[name] = "\n".join(lines) + "\n"
    broken = out.with_name("broken.zip")
    with zipfile.ZipFile(broken, "w") as archive:
        for one, text in texts.items():
            archive.writestr(one, text)
    return broken


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("AX.tsv", lambda lines: None, "AX.tsv: is missing"),
        ("CoLA.tsv", lambda lines: ["id\tlabel", *lines[1:]], "CoLA.tsv: its header is"),
        ("CoLA.tsv", lambda lines: lines[1:], "CoLA.tsv: its header is"),
        ("RTE.tsv", lambda lines: lines[:-1], "RTE.tsv: 2999 predictions, expected 3000"),
        ("RTE.tsv", lambda lines: [*lines, "3000\tentailment"], "RTE.tsv: 3001 predictions"),
        (
            "RTE.tsv",
            lambda lines: [lines[0], *lines[:0:-1]],
            "RTE.tsv: line 2 has the index '2999'",
        ),
        ("RTE.tsv", lambda lines: [lines[0], "0\t1", *lines[2:]], "RTE.tsv: line 2 predicts '1'"),
        (
            "QNLI.tsv",
            lambda lines: [lines[0], "0\tneutral", *lines[2:]],
            "QNLI.tsv: line 2 predicts 'neutral', expected entailment, not_entailment",
        ),
        (
            "STS-B.tsv",
            lambda lines: [lines[0], "0\t5.2", *lines[2:]],
            "STS-B.tsv: line 2 predicts '5.2', expected a number from 0 to 5",
        ),
        ("STS-B.tsv", lambda lines: [lines[0], "0\tnan", *lines[2:]], "predicts 'nan'"),
        ("SST-2.tsv", lambda lines: [lines[0], "0", *lines[2:]], "line 2 has 1 columns"),
    ],
)
def test_each_fault_is_found_with_its_file_and_line(submitted, name, change, fault):
    (found,) = faults_of(changed(submitted[0], name, change))
    assert fault in found


def test_a_file_that_is_none_of_a_submission_is_a_fault(submitted):
    with zipfile.ZipFile(submitted[0], "a") as archive:
        archive.writestr("notes.txt", "hello")
    assert faults_of(submitted[0]) == ["notes.txt: is no file of a submission"]


def test_the_command_writes_and_checks_and_says_which_files_are_constants(
    submitted, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("finetuning: {tasks: {RTE: {}}}\n")
    out = tmp_path / "written.zip"
    words = ["--finetuning", str(tmp_path), "--out", str(out)]
    assert COMMANDS["submission"](words) == 0
    said = capsys.readouterr().out
    assert "RTE.tsv: 3000 predictions by the encoder's median dev seed\n" in said
    assert "STS-B.tsv: 2.500 everywhere" in said
    assert said.endswith(f"{out}: as the server asks for\n")
    broken = changed(submitted[0], "AX.tsv", lambda _lines: None)
    assert COMMANDS["submission"]([*words, "--check", str(broken)]) == 3
    assert capsys.readouterr().out == f"AX.tsv: is missing\n{broken}: refused\n"


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(ArtifactError, match="not readable as a zip"):
        faults_of(tmp_path / "x.zip")
