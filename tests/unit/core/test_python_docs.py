"""The embedded corpus: what counts as prose, what is cut, and that order and splits are fixed."""

import pytest

from stages.core import python_docs
from stages.core.errors import ArtifactError
from stages.core.python_docs import assigned_split, check_versions, prose, read_python_docs

DOCSTRING = """
    Return the :func:`norm <numpy.norm>` of *all* the given ``vectors`` in their order [1]_.

    The second line of this
    paragraph is wrapped.

    Parameters
    ----------
    x : array_like
        The first vector, which has as many numbers as the second one.

    Examples
    --------
    >>> norm([1, 2])
    3

    Use it as follows in a program of yours::

        import norm and never let it out of your sight.

    - The first item of a list is a sentence too, and is
      wrapped.
    """


def test_prose_is_kept_and_everything_else_is_cut():
    assert prose(DOCSTRING) == [
        "Return the norm of all the given vectors in their order.",
        "The second line of this paragraph is wrapped.",
        "The first vector, which has as many numbers as the second one.",
        "The first item of a list is a sentence too, and is wrapped.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Too short a line.",
        "no capital at the start of this line of words.",
        "This line of words has no end like a sentence",
        "The value is x = 3 and is set like that here.",
        "See https://example.org for all the details there are.",
        "Call foo(bar) to get the result of this thing now.",
    ],
)
def test_what_is_no_prose_is_left_out(text):
    assert prose(text) == []


def test_splits_are_fixed_and_have_the_stated_shares():
    names = [f"python-docs/module{n}" for n in range(20_000)]
    shares = [
        sum(assigned_split(name) == split for name in names) / len(names)
        for split in ("tasks", "validation")
    ]
    assert shares == pytest.approx(
        [python_docs.TASKS_FRACTION, python_docs.VALIDATION_FRACTION], abs=0.01
    )


def test_documents_come_in_one_order_without_repeated_paragraphs(monkeypatch, tmp_path):
    sources = []
    for name in ("b", "a"):
        path = tmp_path / f"{name}.py"
        sentences = "\n\n".join(
            f"Module {name} has a sentence about thing number {word}."
            for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
        )
        shared = "This sentence stands in both of the modules alike."
        path.write_text(f'"""{shared}\n\n{sentences}\n"""\n')
        sources.append((name, path))
    monkeypatch.setattr(python_docs, "_sources", lambda: iter(sources))
    every = ("train", "validation", "tasks")
    documents = list(read_python_docs(every, workers=1))
    assert [document.id for document in documents] == ["python-docs/b", "python-docs/a"]
    assert "both of the modules" in documents[0].text
    assert "both of the modules" not in documents[1].text
    assert [
        d.title for d in read_python_docs(every, workers=1, max_bytes=len(documents[0].text) + 5)
    ] == ["b"]


def test_a_package_that_differs_from_the_lock_is_refused(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\n")
    with pytest.raises(ArtifactError, match=r"numpy is locked at 0.0.1, but .* is installed"):
        check_versions(lock)
    with pytest.raises(ArtifactError, match="python-docs needs the lock file"):
        check_versions(tmp_path / "missing")


def test_only_the_modules_of_the_wanted_splits_are_parsed(monkeypatch, tmp_path):
    parsed = []
    monkeypatch.setattr(python_docs, "_prose_of", lambda path: parsed.append(path.stem) or [])
    modules = [(f"module{n}", tmp_path / f"module{n}.py") for n in range(100)]
    monkeypatch.setattr(python_docs, "_sources", lambda: iter(modules))
    list(read_python_docs(("tasks",), workers=1))
    wanted = [name for name, _ in modules if assigned_split(f"python-docs/{name}") == "tasks"]
    assert parsed == wanted
    assert 0 < len(wanted) < 50


SENTENCES = "\n\n".join(f"This sentence of the module has the number {n} in it." for n in range(9))


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Write the modules of the one package that is read; returns the function that reads it."""

    def write(**modules: str) -> list[str]:
        for name, source in modules.items():
            path = tmp_path / "package" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        found = python_docs._modules(tmp_path / "package", prefix="package.")
        monkeypatch.setattr(python_docs, "_sources", lambda: iter(found))
        every = ("train", "validation", "tasks")
        return [document.title for document in read_python_docs(every, workers=1)]

    return write


def test_modules_are_read_by_name_without_their_tests(package):
    names = ["z", "a", "m__b", "m__tests__c", "test__d", "m__testing", "k"]
    modules = {name: f'"""{SENTENCES.replace("module", name[-1])}"""' for name in names}
    assert package(**modules) == ["package.a", "package.k", "package.m.b", "package.z"]


def test_too_little_prose_makes_no_document(package):
    short = '"""This one sentence is all the prose that the module has."""'
    assert package(a=short, b=f'"""{SENTENCES}"""') == ["package.b"]


def test_a_module_is_never_imported_and_may_be_broken(package):
    raising = f'"""{SENTENCES}"""\nraise SystemExit("imported")'
    assert package(a=raising, b="def broken(:") == ["package.a"]
