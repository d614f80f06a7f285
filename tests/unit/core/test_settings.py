"""Settings: read like DVC does, refused with a message that says what to do."""

from typing import Literal

import pytest
from pydantic import Field

from stages.core.errors import SettingsError
from stages.core.settings import Section, load_section, parse_section, read_yaml


class Inner(Section):
    rate: float = Field(gt=0, lt=1)


class Outer(Section):
    kind: Literal["a", "b"]
    inner: Inner
    count: int = Field(ge=1)


GOOD = {"kind": "a", "inner": {"rate": 0.5}, "count": 2}


def test_exponents_without_a_point_are_numbers(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("inner: {rate: 1e-4}\n")
    assert load_section(Inner, "inner", file).rate == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuont": 3}, "outer.cuont is not a known parameter; did you mean 'count'?"),
        ({"inner": {"rat": 0.5}}, "outer.inner.rat is not a known parameter; did you mean 'rate'?"),
        ({"count": 0}, "outer.count is 0, expected: Input should be greater than or equal to 1"),
        ({"count": "2"}, "outer.count is '2', expected: Input should be a valid integer"),
        ({"kind": "c"}, "outer.kind is 'c', expected: Input should be 'a' or 'b'"),
        ({"inner": {"rate": 15.0}}, "expected: Input should be less than 1; did you mean 0.15?"),
        ({"inner": 3}, "outer.inner is 3"),
    ],
)
def test_a_fault_says_where_what_and_what_was_expected(change, message):
    with pytest.raises(SettingsError) as caught:
        parse_section(Outer, GOOD | change, where="outer")
    assert message in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")


def test_a_missing_parameter_is_named():
    with pytest.raises(SettingsError, match=r"outer.count is missing; every parameter is stated"):
        parse_section(Outer, {"kind": "a", "inner": {"rate": 0.5}}, where="outer")


def test_all_faults_are_listed_at_once():
    with pytest.raises(SettingsError) as caught:
        parse_section(Outer, {"kind": "c", "inner": {"rate": 2.0}, "count": 0}, where="outer")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not readable as YAML"),
        ("- 1\n", "expected a mapping of sections, found list"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, message):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_yaml(file)


def test_a_missing_file_and_a_missing_section_are_named(tmp_path):
    with pytest.raises(SettingsError, match="not found; run from the root"):
        read_yaml(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("other: {}\n")
    with pytest.raises(SettingsError, match=r"section 'outer' is missing; there are \['other'\]"):
        load_section(Outer, "outer", tmp_path / "params.yaml")


def test_sections_are_immutable():
    section = parse_section(Outer, GOOD, where="outer")
    with pytest.raises(ValueError, match="frozen"):
        section.count = 3
