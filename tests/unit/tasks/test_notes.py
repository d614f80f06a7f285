from stages.tasks.notes import note_of


def test_published_sizes_need_no_note():
    assert note_of({"train": 10, "dev": 2}, {"train": 10, "dev": 2}) == ""


def test_a_missing_split_is_no_subset():
    assert note_of({"train": 10, "test": 5}, {"train": 10}) == ""


def test_a_smaller_and_a_larger_split_are_both_noted():
    assert note_of({"train": 1000, "dev": 20}, {"train": 900, "dev": 21}) == (
        "train is a subset: 900 of 1,000; dev has 21 examples, published are 20; scores are not "
        "comparable with published ones"
    )
