"""Fingerprints: they follow the code that runs, not its comments, and what it imports."""

import pytest

from stages.core import fingerprint as fp


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A repository with a package `stages` of two modules."""
    folder = tmp_path / "stages"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "first.py").write_text('"""Doc."""\n\ndef run():\n    from stages import second\n')
    (folder / "second.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(fp, "module_path", lambda module: _find(folder, module))
    fp.import_closure.cache_clear()
    yield folder
    fp.import_closure.cache_clear()


def _find(folder, module):
    if module == "stages":
        return folder / "__init__.py"
    path = folder / f"{module.removeprefix('stages.')}.py"
    return path if module.startswith("stages.") and path.is_file() else None


def test_the_closure_follows_imports_inside_functions(package):
    assert fp.import_closure("stages.first") == {"stages", "stages.first", "stages.second"}


def test_comments_and_docstrings_do_not_count(package):
    before = fp.code_fingerprint("stages.first")
    (package / "first.py").write_text(
        '"""Other."""\n\ndef run():\n    """New."""  # why\n    from stages import second\n'
    )
    assert fp.code_fingerprint("stages.first") == before


def test_a_change_in_an_imported_module_counts(package):
    before = fp.code_fingerprint("stages.first")
    (package / "second.py").write_text("VALUE = 2\n")
    assert fp.code_fingerprint("stages.first") != before


def test_fingerprints_of_facts_depend_on_values_not_on_order():
    assert fp.fingerprint({"a": 1, "b": [1, 2]}) == fp.fingerprint({"b": [1, 2], "a": 1})
    assert fp.fingerprint({"a": 1}) != fp.fingerprint({"a": 2})
