"""One tiny encoder for all tests of this folder."""

import pytest

from tests.unit.finetuning.builders import write_start


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "encoder")
