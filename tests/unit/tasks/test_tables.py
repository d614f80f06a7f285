import pytest

from stages.core.errors import ArtifactError
from stages.tasks.tables import read_table


def rows(table):
    return [(row.line, row.values) for row in table.rows]


def test_a_quote_in_a_tsv_is_a_quote_and_swallows_no_row(write):
    path = write("t.tsv", "text\tlabel", 'He said "no\t1', 'yes" she said\t0')
    found = rows(read_table(path, "tsv", ["text", "label"]))
    assert found == [(2, ('He said "no', "1")), (3, ('yes" she said', "0"))]


def test_columns_come_in_the_order_asked_for(write):
    path = write("t.tsv", "label\tid\ttext", "1\t7\thello")
    assert rows(read_table(path, "tsv", ["text", "label"])) == [(2, ("hello", "1"))]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(write):
    path = write("t.tsv", "\ufefftext\tlabel", "a\t1", end="\r\n")
    assert rows(read_table(path, "tsv", ["text", "label"])) == [(2, ("a", "1"))]


def test_unicode_line_separators_do_not_end_a_row(write):
    path = write("t.tsv", "text\tlabel", "a\u2028b\x85c\t1")
    assert rows(read_table(path, "tsv", ["text", "label"])) == [(2, ("a\u2028b\x85c", "1"))]


def test_without_header_columns_are_positions(write):
    path = write("t.tsv", "x\t1\t\tHello.")
    table = read_table(path, "tsv", [3, 1], has_header=False)
    assert rows(table) == [(1, ("Hello.", "1"))]


def test_csv_knows_quotes_separators_and_line_ends_inside_them(write):
    path = write("t.csv", "text,label", '"a, ""b""\nc",1', "d,0")
    found = rows(read_table(path, "csv", ["text", "label"]))
    assert found == [(2, ('a, "b"\nc', "1")), (4, ("d", "0"))]


def test_an_open_quote_in_a_csv_is_refused_with_the_line_where_it_begins(write):
    path = write("t.csv", "text,label", "a,1", '"b,0', "c,1")
    with pytest.raises(ArtifactError, match=r"t\.csv: line 3: not readable as csv .*quotes"):
        rows(read_table(path, "csv", ["text", "label"]))


def test_json_lines_give_texts_numbers_and_truth_values_as_text(write):
    path = write("t.jsonl", '{"text": "a", "label": 1}', "", '{"label": true, "text": "b"}')
    found = rows(read_table(path, "jsonl", ["text", "label"]))
    assert found == [(1, ("a", "1")), (3, ("b", "true"))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "t.jsonl: line 2: not JSON"),
        ("[1]", "t.jsonl: line 2: is a JSON list, expected an object"),
        ('{"text": "a"}', r"t.jsonl: line 2: columns are \['text'\].*\['label'\] missing"),
        ('{"text": null, "label": 1}', "t.jsonl: line 2: 'text' is None, expected valid text"),
        ('{"text": "\\ud800", "label": 1}', "t.jsonl: line 2: 'text' is .*expected valid text"),
    ],
)
def test_a_faulty_json_line_is_refused(write, line, message):
    path = write("t.jsonl", '{"text": "a", "label": 1}', line)
    with pytest.raises(ArtifactError, match=message):
        rows(read_table(path, "jsonl", ["text", "label"]))


def test_a_row_of_another_width_has_no_values(write):
    path = write("t.tsv", "text\tlabel", "a\tb\t1")
    (row,) = read_table(path, "tsv", ["text", "label"]).rows
    assert (row.line, row.values, row.found_width) == (2, None, 3)


def test_an_optional_column_may_be_missing(write):
    path = write("t.csv", "text", "a")
    table = read_table(path, "csv", ["text", "label"], optional=["label"])
    assert table.columns == ("text",)
    assert rows(table) == [(2, ("a",))]


def test_a_missing_column_is_named_with_what_is_there(write):
    path = write("t.tsv", "sentence,label", "a,1")
    with pytest.raises(
        ArtifactError,
        match=r"t\.tsv: line 1: columns are \['sentence,label'\], expected \['text', 'label'\]; "
        r"\['text', 'label'\] missing: is it the right file",
    ):
        read_table(path, "tsv", ["text", "label"])


def test_a_file_without_its_header_is_refused_with_a_short_message(write):
    path = write("t.tsv", f"{'long text ' * 100}\t1")
    with pytest.raises(ArtifactError, match="columns are") as raised:
        read_table(path, "tsv", ["text", "label"])
    assert len(str(raised.value)) < 400


def test_a_column_named_twice_is_refused(write):
    path = write("t.csv", "text,label,label", "a,1,0")
    with pytest.raises(ArtifactError, match="column 'label' is there twice"):
        read_table(path, "csv", ["text", "label"])


def test_too_few_columns_without_header_are_refused(write):
    path = write("t.tsv", "a\tb")
    with pytest.raises(ArtifactError, match=r"line 1: has 2 columns, expected at least 4"):
        read_table(path, "tsv", [3, 1], has_header=False)


@pytest.mark.parametrize("file_format", ["tsv", "csv", "jsonl"])
def test_an_empty_file_is_refused(write, file_format):
    with pytest.raises(ArtifactError, match="is empty, expected labelled examples"):
        read_table(write("t"), file_format, ["text"])


@pytest.mark.parametrize("file_format", ["tsv", "csv", "jsonl"])
def test_a_missing_file_is_refused(tmp_path, file_format):
    with pytest.raises(ArtifactError, match=r"none\.tsv: not found; put the file there"):
        read_table(tmp_path / "none.tsv", file_format, ["text"])


@pytest.mark.parametrize("file_format", ["tsv", "csv"])
def test_a_nul_byte_is_refused_with_its_line(write, file_format):
    path = write("t", "text", "a", "b\0c")
    with pytest.raises(ArtifactError, match="t: line 3: holds a NUL byte"):
        rows(read_table(path, file_format, ["text"]))


def test_utf16_is_refused(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes("text\nä".encode("utf-16"))
    with pytest.raises(ArtifactError, match=r"line 1: holds a NUL byte, .*UTF-16"):
        read_table(path, "tsv", ["text"])


def test_a_byte_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"text\na\ncaf\xe9\n")
    with pytest.raises(ArtifactError, match=r"t\.tsv: line 3: byte 0xe9 is not UTF-8; convert"):
        rows(read_table(path, "tsv", ["text"]))


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read: Is a directory"):
        read_table(tmp_path, "tsv", ["text"])
