"""The embedded source: what is set aside for the tasks does not enter the corpus."""

import pytest

from stages.core.artifacts import write_manifest
from stages.core.errors import ArtifactError
from stages.core.python_docs import PythonDocument, assigned_split
from stages.core.settings import parse_section
from stages.corpus import embedded
from stages.corpus.documents import SourceFacts
from stages.corpus.params import CorpusParams
from stages.corpus.run import _require_one_python
from tests.unit.corpus.builders import CLEANING


@pytest.fixture
def params() -> CorpusParams:
    values = {"source": "python-docs", "input": "requirements.lock", "language": "en"}
    values |= {"shard_size_bytes": 1_000_000, "cleaning": CLEANING}
    return parse_section(CorpusParams, values, where="corpus")


def test_documents_of_the_tasks_are_left_out_and_splits_are_kept(params, monkeypatch):
    documents = [PythonDocument(f"python-docs/m{n}", f"m{n}", "text") for n in range(400)]
    monkeypatch.setattr(
        embedded,
        "read_python_docs",
        lambda splits, *, workers: (d for d in documents if assigned_split(d.id) in splits),
    )
    monkeypatch.setattr(embedded, "check_versions", lambda lock: {"python": "3", "of": str(lock)})
    facts = SourceFacts()
    found = list(embedded.read_embedded(params, facts, workers=1))
    splits = {document.id: assigned_split(document.id) for document in documents}
    assert set(splits.values()) == {"train", "validation", "tasks"}
    assert [d.id for d in found] == [name for name, split in splits.items() if split != "tasks"]
    assert all(d.is_validation == (splits[d.id] == "validation") for d in found)
    assert facts.properties == {"versions": {"python": "3", "of": "requirements.lock"}}


def test_sample_tasks_of_another_python_are_refused(tmp_path):
    """The same split of other packages could put a task's sentences into the corpus."""
    write_manifest(tmp_path, "tasks", {"versions": {"python": "3.11.7"}, "tasks": {}})
    facts = SourceFacts(properties={"versions": {"python": "3.12.1"}})
    with pytest.raises(ArtifactError, match=r"read with .*3\.11\.7.*now there is .*3\.12\.1"):
        _require_one_python(facts, tmp_path)
    _require_one_python(SourceFacts(properties={"versions": {"python": "3.11.7"}}), tmp_path)
    _require_one_python(SourceFacts(), tmp_path)
