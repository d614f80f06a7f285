"""Section `encoding` of params.yaml: how text becomes token ids."""

from pydantic import Field

from stages.core.settings import Section


class EncodingParams(Section):
    """Settings of the encoding stage; language and vocabulary come from its input artefacts."""

    max_sentence_characters: int = Field(ge=16, le=1_000_000)
    """A longer run without a sentence border is cut, at white space where there is some."""
