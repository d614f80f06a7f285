"""Byte-level BPE and Unigram: trained alike in every process, loaded alike by transformers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from stages.core.artifacts import read_manifest
from stages.core.errors import SettingsError
from stages.core.word_borders import is_unused
from stages.encoding.encoder import load_tokenizer
from stages.tokenizer.kinds import KINDS
from stages.tokenizer.run import run
from tests.unit.tokenizer.conftest import make_texts

ROOT = Path(__file__).resolve().parents[3]
NEW = ("bpe", "unigram")
SIZES = {"bpe": 320, "unigram": 170}  # what so little text can give
MESSY = [
    "naïve café ﬁne",
    "a\tb  c\n",
    "[MASK] <mask> [unused0]",
    "日本語 Ω≈ç",
    "x" * 300,
    "\u200b",
]


@pytest.fixture(params=NEW)
def made(request, make_params, texts) -> tuple[str, Tokenizer]:
    changes = {"kind": request.param, "vocab_size": SIZES[request.param], "lowercase": False}
    return request.param, KINDS[request.param].train(lambda: texts, make_params(**changes))


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_every_process_trains_the_same_vocabulary(kind):
    code = (
        "import hashlib, sys\n"
        "from stages.tokenizer.kinds import KINDS\n"
        "from stages.tokenizer.params import TokenizerParams\n"
        "from tests.unit.tokenizer.conftest import SETTINGS, make_texts\n"
        f"given = dict(SETTINGS, kind={kind!r}, vocab_size={SIZES[kind]})\n"
        f"made = KINDS[{kind!r}].train(lambda: make_texts(200), TokenizerParams(**given))\n"
        "sys.stdout.write(hashlib.md5(made.to_str().encode()).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2", "2"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": "random"}
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(result.stdout)
    assert len(found) == 1


def test_the_vocabulary_is_filled_up_and_holds_the_specials(made):
    kind, tokenizer = made
    entries = tokenizer.get_vocab()
    size = -(-SIZES[kind] // 64) * 64
    assert sorted(entries.values()) == list(range(size))
    assert sum(map(is_unused, entries)) == size - SIZES[kind]
    assert set(KINDS[kind].special_tokens.values()) <= set(entries)


def test_neither_special_nor_unused_entries_come_out_of_text(make_params, texts):
    for kind in NEW:
        changes = {"kind": kind, "vocab_size": SIZES[kind] - 1, "lowercase": False}
        tokenizer = KINDS[kind].train(lambda: texts, make_params(**changes))
        tokenizer.encode_special_tokens = True
        entries = {number: entry for entry, number in tokenizer.get_vocab().items()}
        assert any(map(is_unused, entries.values()))
        never = set(KINDS[kind].special_tokens.values()) - {KINDS[kind].special_tokens["unk"]}
        for text in [*MESSY, *texts[:5]]:
            shown = [entries[i] for i in tokenizer.encode(text, add_special_tokens=False).ids]
            assert not never & set(shown), (kind, text)
            assert not any(map(is_unused, shown)), (kind, text)


def test_bytes_come_back_as_they_were(make_params, texts):
    tokenizer = KINDS["bpe"].train(lambda: texts, make_params(kind="bpe", vocab_size=320))
    tokenizer.encode_special_tokens = True
    for text in MESSY:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        wanted = text if text.startswith(" ") else f" {text}"
        assert tokenizer.decode(ids, skip_special_tokens=False) == wanted.lower()


def test_a_word_is_the_same_at_the_beginning_and_inside(made):
    _, tokenizer = made
    first = tokenizer.encode("harbour", add_special_tokens=False).ids
    assert tokenizer.encode("the harbour", add_special_tokens=False).ids[-len(first) :] == first


def test_a_mask_stands_for_a_word_with_its_space(made):
    kind, tokenizer = made
    mask = KINDS[kind].special_tokens["mask"]
    before, word, after = (
        tokenizer.encode(text, add_special_tokens=False).ids
        for text in ("near the", "harbour", "of the town")
    )
    whole = tokenizer.encode("near the harbour of the town", add_special_tokens=False).ids
    assert whole == before + word + after
    masked = tokenizer.encode(f"near the {mask} of the town", add_special_tokens=False).ids
    assert masked == [*before, tokenizer.token_to_id(mask), *after]


@pytest.mark.parametrize("kind", NEW)
def test_transformers_loads_the_artefact_and_gives_the_same_ids(
    kind, write_corpus, journal, make_params, tmp_path
):
    corpus = write_corpus(make_texts(200), make_texts(20))
    params = make_params(kind=kind, vocab_size=SIZES[kind])
    run(params, {"corpus": corpus, "out": tmp_path / "out"}, journal)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = load_tokenizer(tmp_path / "out")
    roles = KINDS[kind].special_tokens
    for role, token in roles.items():
        assert getattr(loaded, f"{role}_token") == token
    for text in [*MESSY, *make_texts(5), f"near the {roles['mask']} of the town"]:
        ours.encode_special_tokens = False
        assert loaded(text)["input_ids"] == ours.encode(text).ids
        assert loaded(text, "b c")["input_ids"] == ours.encode(text, "b c").ids
    size = -(-SIZES[kind] // 64) * 64
    assert len(loaded) == size
    facts = read_manifest(tmp_path / "out", "tokenizer")
    assert (facts["kind"], facts["vocab_size"], facts["lowercase"]) == (kind, size, True)
    assert facts["statistics"]["fertility"] > 1
    assert 0 <= facts["statistics"]["coverage"] < 1
    assert facts["statistics"]["unknown_share"] == 0


def test_settings_that_cannot_be_met_are_refused(make_params, texts):
    with pytest.raises(SettingsError, match=r"vocab_size is 200, expected at least 261"):
        KINDS["bpe"].train(lambda: texts, make_params(kind="bpe", vocab_size=200))
    for kind in NEW:
        with pytest.raises(SettingsError, match="the text can give only"):
            KINDS[kind].train(lambda: texts, make_params(kind=kind, vocab_size=50_000))


def test_real_messy_text_comes_back_from_bytes(make_params, real_data):
    lines = [
        line
        for path in sorted(real_data.rglob("*.txt"))[:6]
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[:300]
    ]
    changes = {"kind": "bpe", "vocab_size": 600, "lowercase": False}
    tokenizer = KINDS["bpe"].train(lambda: lines, make_params(**changes))
    tokenizer.encode_special_tokens = True
    assert len(lines) > 100
    for line in lines:
        ids = tokenizer.encode(line, add_special_tokens=False).ids
        back = tokenizer.decode(ids, skip_special_tokens=False)
        assert back == (line if line.startswith(" ") or not line else f" {line}")
