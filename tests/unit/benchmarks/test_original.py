"""The authors' algorithm in plain Python: what it makes has the properties that theirs has."""

import pytest

from benchmarks.original import Instance, OriginalSettings, create_instances

CLS, SEP, MASK = 1, 2, 3
SETTINGS = OriginalSettings(
    max_seq_length=16,
    duplication_factor=3,
    short_sequence_probability=0.1,
    mlm_probability=0.15,
    max_predictions=4,
    cls=CLS,
    sep=SEP,
    mask=MASK,
    words=range(10, 2000),
)
# Document d's tokens are 100 d + 100 .. 100 d + 199, in order.
DOCUMENTS = [
    [list(range(start, start + 5)) for start in range(100 * d + 100, 100 * d + 200, 5)]
    for d in range(8)
]


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    return create_instances(DOCUMENTS, SETTINGS, seed=1)


def restored(instance: Instance) -> tuple[list[int], list[int]]:
    """Segments A and B as they were before masking."""
    tokens = list(instance.tokens)
    for place, label in zip(instance.masked_positions, instance.masked_labels, strict=True):
        tokens[place] = label
    end = tokens.index(SEP)
    return tokens[1:end], tokens[end + 1 : -1]


def test_a_sequence_has_its_special_tokens_and_fits(instances):
    for instance in instances:
        assert len(instance.tokens) == len(instance.token_type_ids) <= SETTINGS.max_seq_length
        assert (instance.tokens[0], instance.tokens[-1]) == (CLS, SEP)
        a, b = restored(instance)
        assert instance.token_type_ids == [0] * (len(a) + 2) + [1] * (len(b) + 1)


def test_a_next_segment_follows_and_a_random_one_is_of_another_document(instances):
    for instance in instances:
        a, b = restored(instance)
        assert (a[-1] // 100 != b[0] // 100) == instance.is_random_next
        if not instance.is_random_next:
            assert a[-1] < b[0]


def test_as_many_tokens_are_masked_as_the_budget_says(instances):
    for instance in instances:
        wanted = min(4, max(1, round(len(instance.tokens) * 0.15)))
        assert len(instance.masked_positions) == wanted
        assert not {CLS, SEP} & set(instance.masked_labels)


def test_more_than_half_of_the_next_segments_are_random(instances):
    assert 0.5 < sum(instance.is_random_next for instance in instances) / len(instances) < 0.8
