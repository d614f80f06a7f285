"""One tiny encoder, and one tokenizer of each kind, for all tests of this folder."""

import pytest

from tests.unit.finetuning.builders import write_start
from tests.unit.finetuning.extraction_builders import SIZES, train_tokenizer


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "encoder")


@pytest.fixture(scope="session", params=list(SIZES))
def any_tokenizer(request):
    """A tokenizer of each kind."""
    return train_tokenizer(request.param)
