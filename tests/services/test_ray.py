"""The data stages on a real two-node Ray cluster: the same bytes, also when a node is lost."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stages.core.settings import load_section
from stages.core.shards import KeptShards
from stages.core.state import shards_root
from stages.core.tracking.journal import RunJournal
from stages.corpus import documents, duplicates
from stages.corpus import run as corpus
from stages.encoding import blocks
from stages.encoding import run as encoding
from stages.encoding.params import EncodingParams
from stages.masking import instances
from stages.masking import run as masking
from stages.masking.params import MaskingParams
from tests.unit.corpus.builders import corpus_params, prose, write_jsonl, write_task
from tests.unit.encoding.conftest import ENTRIES, write_tokenizer

pytestmark = pytest.mark.services
_NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
_QUICK_TO_MISS_A_NODE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one core; each test adds the other node."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {**_NODE, "include_dashboard": False, "_system_config": _QUICK_TO_MISS_A_NODE}
    started = Cluster(initialize_head=True, head_node_args=head)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def on_ray(cluster, monkeypatch) -> Any:
    """The second node; shards go to the cluster, as many at once as it has cores."""
    node = cluster.add_node(**_NODE)
    cluster.wait_for_nodes()
    monkeypatch.setenv("CLOZE_EXECUTOR", "ray")
    monkeypatch.setenv("CLOZE_RAY_ADDRESS", cluster.address)
    monkeypatch.delenv("CLOZE_WORKERS", raising=False)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Documents with copies and near copies, tasks, and a tokenizer."""
    root = tmp_path_factory.mktemp("inputs")
    texts = [prose(number, 150) for number in range(80)]
    texts += [texts[3], texts[5].replace(texts[5].split()[30], "other"), "short"]
    (root / "source").mkdir()
    records = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    write_jsonl(root / "source" / "a.jsonl", records)
    write_task(root / "tasks", {"dev": [" ".join(texts[7].split()[20:50])]})
    write_tokenizer(root / "tokenizer", ENTRIES)
    return root


@pytest.fixture
def many_shards(monkeypatch) -> None:
    """Small documents in many shards; the plan is made here, so that workers need not know."""
    monkeypatch.setattr(documents, "_BATCH_CHARACTERS", 5_000)
    monkeypatch.setattr(duplicates, "_LEAST_DOCUMENTS_FOR_POOL", 0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 4_000)
    monkeypatch.setattr(instances, "_BLOCK_TOKENS", 4_000)


@pytest.fixture
def make(inputs, tmp_path) -> Callable[..., dict[str, str]]:
    """Run the three stages in this process; the sha256 of every file that they wrote."""

    def run(name: str, before_stage: Callable[[], None] = lambda: None) -> dict[str, str]:
        out = tmp_path / name
        sections = {
            "encoding": load_section(EncodingParams, "encoding"),
            "masking": load_section(MaskingParams, "masking"),
        }
        paths = {stage: out / stage for stage in ("corpus", "encoding", "masking")}
        paths |= {"tasks": inputs / "tasks", "tokenizer": inputs / "tokenizer"}
        for module, stage, params in (
            (corpus, "corpus", corpus_params(inputs / "source", id_column="id")),
            (encoding, "encoding", sections["encoding"]),
            (masking, "masking", sections["masking"]),
        ):
            before_stage()
            module.run(params, {**paths, "out": paths[stage]}, RunJournal("test"))
        assert list(shards_root().iterdir()) == []
        return {
            path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }

    return run


def test_one_process_two_processes_and_two_nodes_write_the_same_files(
    make, many_shards, on_ray, monkeypatch
):
    nodes = make("nodes")
    monkeypatch.setenv("CLOZE_EXECUTOR", "processes")
    monkeypatch.setenv("CLOZE_WORKERS", "1")
    one = make("one")
    monkeypatch.setenv("CLOZE_WORKERS", "2")
    assert one == make("two") == nodes
    assert {"corpus/train-00000.parquet", "encoding/train.tokens.bin"} <= set(one)
    assert "masking/64/train/mask_positions.npy" in one


def test_the_files_are_the_same_after_a_node_is_removed_in_the_middle_of_each_stage(
    make, many_shards, cluster, on_ray, monkeypatch
):
    nodes = [on_ray]
    removed = []
    mapped = KeptShards.map

    def map_losing_a_node(self, function, plan, **options):
        yield from mapped(self, function, losing_a_node(plan), **options)

    def losing_a_node(plan):
        """The plan; when a third shard is asked for, one is running on the node that goes."""
        for number, shard in enumerate(plan):
            if number == 2 and nodes:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                removed.append(shard[0])
            yield shard

    def add_node():
        if not nodes:
            nodes.append(cluster.add_node(**_NODE))
            cluster.wait_for_nodes()

    monkeypatch.setattr(KeptShards, "map", map_losing_a_node)
    found = make("losing", before_stage=add_node)
    assert [name.split("-")[0] for name in removed] == ["batch", "train", "64"]
    monkeypatch.setattr(KeptShards, "map", mapped)
    monkeypatch.setenv("CLOZE_EXECUTOR", "processes")
    monkeypatch.setenv("CLOZE_WORKERS", "1")
    assert found == make("one")


def where(item: tuple[str, str, int]) -> str:
    """The node that runs this; the doomed one never answers, and the other one waits for it."""
    import ray

    marks, doomed, number = item
    node: str = ray.get_runtime_context().get_node_id()
    (Path(marks) / f"{number}.{node}").touch()
    if node == doomed:
        threading.Event().wait()
    wait_for(Path(marks), doomed)
    return node


def wait_for(marks: Path, node: str) -> None:
    """Return when a shard has begun on a node."""
    while not list(marks.glob(f"*.{node}")):
        time.sleep(0.05)


def test_a_shard_that_runs_on_a_removed_node_runs_again_on_another(
    cluster, on_ray, tmp_path, monkeypatch
):
    marks = tmp_path / "marks"
    marks.mkdir()
    doomed = on_ray.node_id
    before = signal.getsignal(signal.SIGTERM)

    def plan():
        for number in range(6):
            if number == 2:
                wait_for(marks, doomed)
                cluster.remove_node(on_ray, allow_graceful=False)
            yield f"part-{number}", (str(marks), doomed, number)

    found = list(KeptShards(tmp_path / "shards").map(where, plan()))
    assert len(found) == 6
    assert len(set(found)) == 1
    assert doomed not in found
    times = Counter(mark.name.split(".")[0] for mark in marks.iterdir())
    assert sorted(times.values()) == [1, 1, 1, 1, 1, 2]
    assert signal.getsignal(signal.SIGTERM) == before


def fail(number: int) -> int:
    if number == 3:
        raise ValueError("no luck")
    return number


def test_an_error_on_a_node_is_raised_here_as_it_was(on_ray, tmp_path):
    plan = ((f"part-{number}", number) for number in range(9))
    with pytest.raises(ValueError, match=r"^no luck$") as caught:
        list(KeptShards(tmp_path / "shards").map(fail, plan))
    assert type(caught.value) is ValueError
    assert (tmp_path / "shards" / "part-0.done").exists()
