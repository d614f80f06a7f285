"""Objectives side by side, from the command line: isolated, nothing equal computed twice."""

import json

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.soak]  # the stages of two more systems


def test_two_objectives_are_compared_at_one_budget(project):
    before = (project.root / "params.yaml").read_text(), project.lock
    result = project.run(
        "python",
        "-m",
        "pipelines",
        "compare",
        "--objectives",
        "spanbert,electra",
        "--budget",
        "tokens=1500",
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "Macro score, highest first" in result.stdout
    compared = json.loads((project.root / "reports/comparison/comparison.json").read_text())
    costs = {name: system["costs"] for name, system in compared["systems"].items()}
    assert set(costs) == {"spanbert", "electra"}
    for cost in costs.values():
        assert 1500 <= cost["tokens"] < 1500 + 8 * 32  # spent whole, and no update more
        assert cost["minutes"] > 0
    assert costs["electra"]["flops"] != costs["spanbert"]["flops"]
    assert ((project.root / "params.yaml").read_text(), project.lock) == before
    ran = [line for line in result.stderr.splitlines() if "Running stage 'corpus'" in line]
    assert ran == []  # the same corpus as the checkout's: restored from the cache
