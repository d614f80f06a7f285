from collections.abc import Callable

import pytest

from stages.core.errors import SettingsError
from stages.core.settings import Checkpoint, load_section
from stages.tokenizer.params import TokenizerParams

MakeParams = Callable[..., TokenizerParams]


def test_the_shipped_section_is_valid() -> None:
    assert load_section(TokenizerParams, "tokenizer").kind == "wordpiece"


def test_start_is_scratch_or_a_pinned_checkpoint(make_params: MakeParams) -> None:
    start = {"checkpoint": "some/model", "revision": "0123456789"}
    assert make_params().start == "scratch"
    assert make_params(start=start).start == Checkpoint(**start)


def test_a_checkpoint_without_revision_is_refused(make_params: MakeParams) -> None:
    with pytest.raises(SettingsError, match=r"tokenizer\.start.*revision.* is missing"):
        make_params(start={"checkpoint": "some/model"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "words"}, r"tokenizer\.kind is 'words', expected: .*'wordpiece'"),
        ({"vocab_size": 10}, r"tokenizer\.vocab_size is 10, expected: .*64"),
        ({"vocab_size": 100, "pad_to_multiple_of": 128}, "is 128, expected at most vocab_size"),
        ({"lowercased": True}, "lowercased is not a known parameter; did you mean 'lowercase'"),
    ],
)
def test_wrong_values_are_named(
    make_params: MakeParams, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        make_params(**changes)
