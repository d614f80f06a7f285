from stages.tasks.continuation import make_continuation, neighbours
from stages.tasks.passages import Passage


def pairs(num_documents: int, num_pairs: int):
    return [
        (document, f"{document}.{n}.a", f"{document}.{n}.b")
        for document in range(num_documents)
        for n in range(num_pairs)
    ]


def test_neighbours_are_told_by_whether_a_paragraph_ends_between_them():
    passages = [Passage(7, ("a", "b", "c"), (0, 0, 1)), Passage(7, ("d",), (2,))]
    assert neighbours(passages, in_one_paragraph=True) == [(7, "a", "b")]
    assert neighbours(passages, in_one_paragraph=False) == [(7, "b", "c")]


def test_every_pair_follows_once_and_once_does_not():
    given = pairs(20, 5)
    first, second, labels = make_continuation(given, seed=1, split="dev")
    following = {(a, b) for _, a, b in given}
    assert sorted(first) == sorted([a for _, a, _ in given] * 2)
    assert sum(labels) == len(given) == len(labels) // 2
    for a, b, label in zip(first, second, labels, strict=True):
        assert ((a, b) in following) == (label == 1)


def test_most_wrong_continuations_are_of_another_document():
    first, second, labels = make_continuation(pairs(40, 20), seed=1, split="dev")
    wrong = [(a, b) for a, b, label in zip(first, second, labels, strict=True) if not label]
    same = sum(a.split(".")[0] == b.split(".")[0] for a, b in wrong) / len(wrong)
    assert 0.17 < same < 0.33  # a quarter of 800, five standard deviations


def test_no_sentence_continues_itself():
    chain = [(0, str(n), str(n + 1)) for n in range(30)]
    first, second, _ = make_continuation(chain, seed=1, split="dev")
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_one_pair_alone_has_no_wrong_continuation():
    assert make_continuation([(0, "a", "b")], seed=1, split="dev") == (["a"], ["b"], [1])


def test_the_same_seed_makes_the_same_examples():
    made = [make_continuation(pairs(9, 4), seed=seed, split="dev") for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
