import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ArtifactError, SettingsError
from stages.tokenizer.training import count_characters, train_vocabulary

PROGRAM = """
import sys, hashlib
from stages.tokenizer.training import train_vocabulary
lines = open(sys.argv[1], encoding="utf-8").read().split("\\n")
entries = train_vocabulary(lambda: lines, vocab_size=600, lowercase=True)
print(hashlib.sha256("\\n".join(entries).encode()).hexdigest())
"""


def train(texts: Sequence[str], vocab_size: int, *, lowercase: bool = True) -> list[str]:
    return train_vocabulary(lambda: texts, vocab_size=vocab_size, lowercase=lowercase)


@pytest.mark.slow
def test_two_processes_train_the_same_vocabulary(tmp_path: Path) -> None:
    words = [hashlib.sha256(str(n).encode()).hexdigest()[:9] for n in range(1500)]
    source = tmp_path / "text.txt"
    source.write_text("\n".join(f"{word} {word[::-1]}" for word in words), encoding="utf-8")
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(source)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


def test_specials_come_first_then_the_alphabet_then_its_continuing_forms() -> None:
    entries = train(["ab ba, ab ba, 漢 漢"] * 5, 12)
    assert entries[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert entries[5:11] == [",", "a", "b", "漢", "##a", "##b"]
    assert entries[11] in {"ab", "ba"}


def test_the_rarest_characters_are_left_out() -> None:
    entries = train(["ab ba " * 20_000, "øø", "þ"], 10)
    assert {"a", "b"} < set(entries)
    assert not {"ø", "þ"} & set(entries)


def test_frequent_words_get_entries_of_their_own(texts: list[str]) -> None:
    entries = train(texts, 200)
    assert {"harbour", "the", "astronomer"} <= set(entries)
    assert len(entries) == len(set(entries)) == 200


@pytest.mark.parametrize(
    ("lowercase", "expected"), [(True, {"e", "##e"}), (False, {"é", "É", "##é", "##É"})]
)
def test_uncased_text_loses_accents_and_cased_text_keeps_them(
    lowercase: bool, expected: set[str]
) -> None:
    entries = train(["éa ÉA ."] * 200, 11 if lowercase else 15, lowercase=lowercase)
    assert {entry for entry in entries if entry.lower()[-1] in {"e", "é"}} == expected


def test_a_vocabulary_larger_than_the_text_gives_is_refused_with_what_it_gives(
    texts: list[str],
) -> None:
    with pytest.raises(SettingsError, match=r"vocab_size is 5000, but the text can give") as caught:
        train(texts, 5000)
    given = int(re.search(r"give only (\d+) entries", str(caught.value)).group(1))
    assert len(train(texts, given)) == given


def test_a_vocabulary_too_small_for_the_characters_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"vocab_size is 6, expected at least 7: the special"):
        train(["aaa aaa"], 6)
    assert train(["aaa aaa"], 7)[5:] == ["a", "##a"]


def test_a_text_without_characters_is_refused() -> None:
    with pytest.raises(ArtifactError, match="train holds no text"):
        train(["  \n "], 100)


def test_words_that_the_model_never_looks_up_do_not_shape_the_vocabulary() -> None:
    texts = ["abab abab"] * 20
    assert train([*texts, "q" * 101, "q" * 101], 11) == train(texts, 11)


def test_characters_are_counted_in_every_script() -> None:
    counts = count_characters(["aab", "漢a😀"])
    assert {chr(point): counts[point] for point in np.flatnonzero(counts)} == {
        "a": 3,
        "b": 1,
        "漢": 1,
        "😀": 1,
    }
