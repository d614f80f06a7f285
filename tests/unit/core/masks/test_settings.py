"""Mask settings go through a manifest unchanged."""

import json
from dataclasses import replace

from stages.core.masks.settings import MaskSettings, mask_settings

SPANS = MaskSettings("span", 0.15, "nearest", 0.8, 0.1, 0.2, 10, 7)


def test_settings_are_read_back_as_they_were_written():
    tokens = replace(
        SPANS, unit="token", span_geometric_probability=None, max_span_words=None, seed=3
    )
    for settings in (SPANS, tokens):
        assert mask_settings(json.loads(json.dumps(settings.describe()))) == settings


def test_a_manifest_names_every_setting():
    assert SPANS.describe() == {
        "unit": "span",
        "mlm_probability": 0.15,
        "budget_rounding": "nearest",
        "mask_token_probability": 0.8,
        "random_token_probability": 0.1,
        "span_geometric_probability": 0.2,
        "max_span_words": 10,
        "seed": 7,
    }
