"""Settings of the corpus: what params.yaml holds is valid, and what does not fit is refused."""

from pathlib import Path

import pytest

from stages.core.errors import SettingsError
from stages.core.settings import load_section, parse_section
from stages.corpus.params import CorpusParams
from tests.unit.corpus.builders import CLEANING, FILES

BASE = {"input": "x", "language": "en", "shard_size_bytes": 10, "cleaning": CLEANING}
DATASET = {"path": "a/b", "revision": "0" * 40}


def parse(**values):
    return parse_section(CorpusParams, {**BASE, **values}, where="corpus")


def test_the_default_settings_are_valid():
    params = load_section(CorpusParams, "corpus", Path("params.yaml"))
    assert params.cleaning.unicode_form in {"NFC", "NFKC"}


@pytest.mark.parametrize("source", ["files", "hub"])
def test_a_source_asks_for_its_block(source):
    with pytest.raises(SettingsError, match=f"state its settings in corpus.{source}"):
        parse(source=source)


def test_a_block_of_another_source_is_refused():
    with pytest.raises(SettingsError, match=r"corpus.files is given but source is 'python-docs'"):
        parse(source="python-docs", files=FILES)


def test_python_docs_are_english():
    with pytest.raises(SettingsError, match=r"python-docs is English, language is 'de'"):
        parse(source="python-docs", language="de")


def test_a_branch_name_is_no_pin():
    hub = {"datasets": [{**DATASET, "revision": "main"}], "validation_fraction": 0.1}
    with pytest.raises(SettingsError, match=r"revision is 'main'"):
        parse(source="hub", hub=hub)


def test_weights_are_given_to_all_datasets_or_none():
    hub = {"datasets": [DATASET, {**DATASET, "weight": 2.0}], "validation_fraction": 0.1}
    with pytest.raises(SettingsError, match=r"every dataset of the mixture a weight"):
        parse(source="hub", hub=hub)


def test_a_misspelt_setting_is_named_with_its_neighbour():
    cleaning = {**CLEANING, "unicode_from": "NFC"}
    with pytest.raises(SettingsError, match=r"did you mean 'unicode_form'"):
        parse(source="files", files=FILES, cleaning=cleaning)
