import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from stages.core.artifacts import content_hash, read_manifest
from stages.core.errors import ArtifactError, SettingsError, StorageError
from stages.tokenizer.params import TokenizerParams
from stages.tokenizer.run import run

MakeParams = Callable[..., TokenizerParams]
LINES = [
    "The keeper, 1843.",
    "Ünïcödé ÉTÉ",
    "漢字 and words",
    "it isn't [MASK] \u0301x",
    "a" * 200,
    "",
]


@pytest.fixture
def corpus(write_corpus, texts: list[str]) -> Path:
    return write_corpus(texts[:180], texts[180:])


def test_the_manifest_states_what_later_stages_need(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams
) -> None:
    out = tmp_path / "tokenizer"
    run(make_params(), {"corpus": corpus, "out": out}, journal)
    manifest = read_manifest(out, "tokenizer")
    assert manifest["kind"] == "wordpiece"
    assert manifest["vocab_size"] == 256
    assert manifest["num_unused"] == 56
    assert manifest["lowercase"] is True
    assert manifest["special_token_ids"] == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    assert 1 <= manifest["statistics"]["fertility"] < 3
    assert 0 < manifest["statistics"]["coverage"] <= 1
    assert Tokenizer.from_file(str(out / "tokenizer.json")).get_vocab_size() == 256
    assert len((out / "vocab.txt").read_text(encoding="utf-8").splitlines()) == 256


def test_two_runs_write_the_same_bytes(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams
) -> None:
    for name in ("first", "second"):
        run(make_params(), {"corpus": corpus, "out": tmp_path / name}, journal)
    assert content_hash(tmp_path / "first") == content_hash(tmp_path / "second")


def test_a_checkpoints_tokenizer_is_taken_over_whatever_the_sizes_say(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams
) -> None:
    trained, taken = tmp_path / "trained", tmp_path / "taken"
    run(make_params(lowercase=False), {"corpus": corpus, "out": trained}, journal)
    start = {"checkpoint": str(trained), "revision": content_hash(trained)}
    run(make_params(start=start, vocab_size=99), {"corpus": corpus, "out": taken}, journal)
    assert (taken / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()
    manifest = read_manifest(taken, "tokenizer")
    assert (manifest["vocab_size"], manifest["lowercase"]) == (256, False)
    assert manifest["start"] == start["revision"]


def test_another_stages_folder_is_refused_as_corpus(
    tmp_path: Path, journal, make_params: MakeParams
) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "tasks"}))
    with pytest.raises(ArtifactError, match="made by 'tasks', expected an artefact of 'corpus'"):
        run(make_params(), {"corpus": tmp_path, "out": tmp_path / "out"}, journal)


def test_a_failing_run_leaves_the_old_tokenizer_as_it_was(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams
) -> None:
    out = tmp_path / "tokenizer"
    run(make_params(), {"corpus": corpus, "out": out}, journal)
    before = content_hash(out)
    with pytest.raises(SettingsError, match="the text can give only"):
        run(make_params(vocab_size=50_000), {"corpus": corpus, "out": out}, journal)
    assert content_hash(out) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_a_full_disk_leaves_the_old_tokenizer_as_it_was(
    corpus: Path,
    tmp_path: Path,
    journal,
    make_params: MakeParams,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    out = tmp_path / "tokenizer"
    run(make_params(), {"corpus": corpus, "out": out}, journal)
    before = content_hash(out)
    opened = Path.open

    def open_on_full_disk(
        path: Path, mode: str = "r", *others: object, **options: object
    ) -> object:
        is_full = path.name == name and mode == "w"
        return opened(Path("/dev/full") if is_full else path, mode, *others, **options)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises(StorageError, match=r"No space left on device; .*left as it was"):
        run(make_params(lowercase=False), {"corpus": corpus, "out": out}, journal)
    monkeypatch.undo()
    assert content_hash(out) == before
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("lowercase", [True, False])
def test_transformers_loads_it_and_gives_the_same_ids(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams, lowercase: bool
) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "tokenizer"
    run(make_params(lowercase=lowercase), {"corpus": corpus, "out": out}, journal)
    plain = Tokenizer.from_file(str(out / "tokenizer.json"))
    loaded = AutoTokenizer.from_pretrained(out)
    assert loaded.is_fast
    assert loaded.model_max_length == 512
    assert (loaded.mask_token, loaded.mask_token_id, loaded.pad_token_id) == ("[MASK]", 4, 0)
    assert loaded(LINES)["input_ids"] == [encoding.ids for encoding in plain.encode_batch(LINES)]
    pair = loaded("the harbour", "the stars")
    assert pair["token_type_ids"] == plain.encode("the harbour", "the stars").type_ids
    assert len(loaded) == 256


def test_it_answers_in_a_fill_mask_pipeline(
    corpus: Path, tmp_path: Path, journal, make_params: MakeParams
) -> None:
    import transformers

    out = tmp_path / "tokenizer"
    run(make_params(), {"corpus": corpus, "out": out}, journal)
    config = transformers.BertConfig(
        vocab_size=256,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    model = transformers.BertForMaskedLM(config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    fill = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    answers = fill("The keeper had [MASK] the harbour.", top_k=3)
    assert len(answers) == 3
    assert "the keeper had" in answers[0]["sequence"]
