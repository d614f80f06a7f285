"""The stage as a whole: what comes out, the same bytes each time, and what is refused."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.core.artifacts import content_hash
from stages.core.errors import ArtifactError, SettingsError, StorageError
from stages.core.tracking.journal import RunJournal
from stages.corpus import documents
from stages.corpus import run as stage
from stages.corpus.run import run
from tests.unit.corpus.builders import corpus_params, prose, rows, write_jsonl, write_task

SECRET = "the answer that a test asks for has at least thirteen words in its one sentence"


def changed(text: str) -> str:
    """A near copy: one word of it is another."""
    return text.replace(text.split()[30], "different")


@pytest.fixture
def source(tmp_path):
    """40 documents, of which one is empty, one short, one a copy and one a near copy."""
    folder = tmp_path / "source"
    folder.mkdir()
    texts = [prose(n, 200) for n in range(36)]
    texts += ["", "short", texts[3], changed(texts[5])]
    records = [{"id": f"d{n}", "title": f"T{n}", "text": text} for n, text in enumerate(texts)]
    write_jsonl(folder / "a.jsonl", records[:15])
    write_jsonl(folder / "b.jsonl.gz", records[15:])
    return folder


COLUMNS = {"id_column": "id", "title_column": "title"}


def test_every_document_is_written_once_or_counted_with_its_reason(source, make_corpus):
    manifest = make_corpus(corpus_params(source, **COLUMNS))
    ids = [row["id"] for split in ("train", "validation") for row in manifest["rows"][split]]
    assert sorted(ids) == sorted(f"d{n}" for n in range(36))
    reasons = ("empty", "short", "exact-duplicate", "near-duplicate")
    assert manifest["dropped"] == dict.fromkeys(reasons, 1)
    samples = {reason: manifest["dropped_samples"][reason][0]["id"] for reason in reasons}
    assert samples == dict(zip(reasons, ("d36", "d37", "d38", "d39"), strict=True))
    assert manifest["read_documents"] == 40
    assert manifest["documents"] == {s: len(found) for s, found in manifest["rows"].items()}
    size = sum(len(row["text"].encode()) for row in manifest["rows"]["train"])
    assert manifest["bytes"]["train"] == size
    assert manifest["rows"]["train"][0]["title"].startswith("T")
    assert (manifest["language"], manifest["source"]) == ("en", "files")


def test_documents_keep_the_order_of_the_source(source, make_corpus):
    manifest = make_corpus(corpus_params(source, **COLUMNS))
    for found in manifest["rows"].values():
        numbers = [int(row["id"][1:]) for row in found]
        assert numbers == sorted(numbers)


def test_a_document_goes_to_the_same_split_whatever_stands_beside_it(source, make_corpus):
    params = corpus_params(source, validation_fraction=0.3, **COLUMNS)
    first = {row["id"] for row in make_corpus(params)["rows"]["validation"]}
    (source / "a.jsonl").unlink()
    second = {row["id"] for row in make_corpus(params)["rows"]["validation"]}
    second -= {"d38", "d39"}  # their originals went with the file
    assert second == {name for name in first if int(name[1:]) >= 15}
    assert second


@pytest.mark.slow
def test_workers_and_repetition_do_not_show_in_the_bytes(
    source, make_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr("stages.corpus.documents._BATCH_CHARACTERS", 3_000)
    params = corpus_params(source, shard_size_bytes=9_000, **COLUMNS)
    make_corpus(params, out="one")
    make_corpus(params, out="again")
    make_corpus(params, workers=2, out="two")
    hashes = {content_hash(tmp_path / name) for name in ("one", "again", "two")}
    assert len(hashes) == 1
    assert len(list((tmp_path / "one").glob("train-*.parquet"))) > 2
    names = {path.suffix for path in (tmp_path / "one").iterdir()}
    assert names == {".parquet", ".json"}, "working files must not stay behind"


def test_dev_and_test_sentences_of_the_tasks_are_cut_out(tmp_path, make_corpus, tasks):
    write_task(tasks, {"train": [prose(3).split("\n")[0]], "dev": [SECRET], "test": []})
    (tmp_path / "source").mkdir()
    text = prose(1, 200) + "\nIt is: " + SECRET.upper() + "!\n" + prose(2, 200)
    write_jsonl(tmp_path / "source" / "a.jsonl", [{"text": text}, {"text": prose(3)}])
    manifest = make_corpus(corpus_params(tmp_path / "source"))
    written = [row["text"] for found in manifest["rows"].values() for row in found]
    assert sorted(written) == sorted([prose(1, 200) + "\n" + prose(2, 200), prose(3)])
    assert manifest["cut_passages"] == {"documents": 1, "paragraphs": 1, "bytes": 87}
    assert manifest["dropped_samples"]["cut-passage"][0]["text"].startswith("It is: THE ANSWER")


def test_counts_go_to_the_journal(source, tmp_path, tasks):
    journal = RunJournal("counted")
    out = tmp_path / "corpus"
    run(corpus_params(source, **COLUMNS), {"tasks": tasks, "out": out}, journal)
    values = json.loads(journal.path.read_text())["values"]
    assert values["dropped.near-duplicate"] == 1
    assert values["documents.train"] + values["documents.validation"] == 36
    assert values["seconds"] > 0


def test_both_splits_get_a_document_where_the_hash_leaves_one_empty(tmp_path, make_corpus):
    (tmp_path / "source").mkdir()
    records = [{"id": str(n), "text": prose(n)} for n in range(3)]
    write_jsonl(tmp_path / "source" / "a.jsonl", records)
    params = corpus_params(tmp_path / "source", id_column="id", validation_fraction=1e-9)
    rows_of = make_corpus(params)["rows"]
    assert [row["id"] for row in rows_of["train"]] == ["0", "1"]
    assert [row["id"] for row in rows_of["validation"]] == ["2"]


@pytest.mark.parametrize("texts", [["short"], [prose(0)], [prose(0), prose(0)]])
def test_fewer_than_two_documents_are_refused_with_what_was_dropped(tmp_path, make_corpus, texts):
    (tmp_path / "source").mkdir()
    write_jsonl(tmp_path / "source" / "a.jsonl", [{"text": text} for text in texts])
    expected = rf"[01] documents left of {len(texts)} after cleaning, expected at least 2"
    with pytest.raises(ArtifactError, match=expected):
        make_corpus(corpus_params(tmp_path / "source"))


def test_a_failed_run_leaves_the_earlier_corpus_and_no_rest(source, make_corpus, tmp_path):
    make_corpus(corpus_params(source, **COLUMNS))
    before = content_hash(tmp_path / "corpus")
    (source / "c.jsonl").write_text("{broken\n")
    with pytest.raises(ArtifactError, match=r"c.jsonl: line 1 is no JSON"):
        make_corpus(corpus_params(source, **COLUMNS), workers=2)
    assert content_hash(tmp_path / "corpus") == before
    assert not list(tmp_path.glob(".corpus*"))


@pytest.mark.parametrize("writer", ["core.shards._replace", "corpus.run.ShardWriter.write"])
def test_a_full_disk_is_named_and_the_earlier_corpus_stays(
    source, make_corpus, tmp_path, monkeypatch, writer
):
    make_corpus(corpus_params(source, **COLUMNS))
    before = content_hash(tmp_path / "corpus")

    def fill(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "a-shard")

    monkeypatch.setattr(f"stages.{writer}", fill)
    with pytest.raises(StorageError, match=r"a-shard: cannot write: No space left on device"):
        make_corpus(corpus_params(source, **COLUMNS))
    assert content_hash(tmp_path / "corpus") == before
    assert not list(tmp_path.glob(".corpus*"))


def test_a_stage_that_failed_late_cleans_only_what_is_new(source, make_corpus, monkeypatch):
    """Batches of other documents than before have other names."""
    cleaned, work, write = [], stage.work_batch, stage.ShardWriter.write

    def counted(batch):
        cleaned.append([document.id for document in batch])
        return work(batch)

    monkeypatch.setattr(documents, "_BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(stage, "work_batch", counted)
    monkeypatch.setattr(stage.ShardWriter, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_corpus(corpus_params(source, **COLUMNS))
    assert len(cleaned) == 4
    monkeypatch.setattr(stage.ShardWriter, "write", write)
    cleaned.clear()
    lines = (source / "a.jsonl").read_text().splitlines()
    lines[12] = json.dumps({"id": "new", "title": "", "text": prose(99, 200)})
    (source / "a.jsonl").write_text("\n".join(lines))
    manifest = make_corpus(corpus_params(source, **COLUMNS))
    assert [batch[2] for batch in cleaned] == ["new"]
    assert manifest == make_corpus(corpus_params(source, **COLUMNS), out="whole")


def test_an_unsupported_language_is_refused_with_the_list(source, make_corpus):
    with pytest.raises(SettingsError, match=r"language is 'tlh', expected one .* en, es"):
        make_corpus(corpus_params(source, language="tlh"))


def test_missing_tasks_are_named_unless_decontamination_is_off(source, tmp_path):
    paths = {"tasks": tmp_path / "none", "out": tmp_path / "corpus"}
    with pytest.raises(ArtifactError, match=r"none/manifest.json: missing; run the stage"):
        run(corpus_params(source), paths, RunJournal("test"))
    run(corpus_params(source, cleaning={"decontamination": None}), paths, RunJournal("test"))
    assert rows(tmp_path / "corpus", "train")


@pytest.mark.slow
def test_the_command_line_reads_params_and_answers_with_exit_codes(source, tasks, tmp_path):
    params = {"corpus": corpus_params(source, **COLUMNS).model_dump(mode="json")}
    (tmp_path / "params.yaml").write_text(json.dumps(params))

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.corpus", "--tasks", str(tasks), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    settings = ("--params", str(tmp_path / "params.yaml"))
    done = call("--out", str(tmp_path / "out"), *settings)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "out", "train")
    for path in source.iterdir():
        path.unlink()
    failed = call("--out", str(tmp_path / "out"), *settings)
    assert failed.returncode == 3
    assert "no file matches corpus.files.patterns" in failed.stderr


@pytest.mark.slow
def test_messy_encodings_pass_or_are_refused_with_a_clear_error(real_data, tmp_path, make_corpus):
    paths = sorted((real_data / "messy" / "udhr_mixed_encodings").iterdir())[::20]
    outcomes = {path.name: outcome(make_corpus, tmp_path, path) for path in paths}
    assert set(outcomes.values()) == {"passed", "refused"}
    assert all(found == "passed" for name, found in outcomes.items() if name.endswith("UTF8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "NormalizationTest.txt",
        "UTF-8-test.txt",
        "blns.txt",
        "ja_wagahaiwa_nekodearu.txt",
        "ko_wiki_01",
        "nospace_one_line_war_and_peace.txt",
        "zh_wiki_01",
    ],
)
def test_large_messy_files_pass(real_data, tmp_path, make_corpus, name):
    assert outcome(make_corpus, tmp_path, real_data / "messy" / name) == "passed"


def outcome(make_corpus, tmp_path: Path, path: Path) -> str:
    """`passed`, or `refused` where the error says what is wrong with the file."""
    folder = tmp_path / f"source-{path.name}"
    folder.mkdir()
    (folder / "messy.txt").symlink_to(path)
    (folder / "other.txt").write_text(prose(0) + "\n\n" + prose(1))
    try:
        manifest = make_corpus(corpus_params(folder, document_boundary="blank-line"))
    except ArtifactError as error:
        message = str(error)
        assert "messy.txt" in message
        assert "no valid UTF-8" in message or "looks binary" in message
        return "refused"
    written = sum(manifest["documents"].values()) + sum(manifest["dropped"].values())
    assert written == manifest["read_documents"]
    return "passed"


@pytest.mark.slow
def test_the_first_row_group_of_wikipedia_gives_a_corpus(real_data, tmp_path, make_corpus):
    shard = pq.ParquetFile(real_data / "corpus" / "wikipedia-00000-of-00004.parquet")
    (tmp_path / "source").mkdir()
    pq.write_table(shard.read_row_group(0), tmp_path / "source" / "a.parquet")
    manifest = make_corpus(corpus_params(tmp_path / "source", **COLUMNS), workers=2)
    kept = sum(manifest["documents"].values())
    assert kept > 450
    assert kept + sum(manifest["dropped"].values()) == 500
    texts = [row["text"] for row in manifest["rows"]["train"]]
    assert not any("\n\n" in text or "  " in text or "\u00a0" in text for text in texts)
