"""The rules that keep the project in its shape, computed from the source itself."""

import ast
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from stages.core.fingerprint import NEUTRAL_MODULES, import_closure, module_path

ROOT = Path(__file__).resolve().parents[2]
STAGES = (
    "tasks",
    "corpus",
    "tokenizer",
    "encoding",
    "masking",
    "pretraining",
    "finetuning",
    "evaluation",
    "registration",
)
LEARNING = ("torch", "transformers", "datasets")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}
MODULE_LINES, FUNCTION_LINES, MAIN_LINES = 400, 60, 40
SOURCES = sorted(
    path for package in ("stages", "pipelines") for path in (ROOT / package).rglob("*.py")
)


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("pipelines", "stages", include_external_packages=True)


@pytest.fixture(scope="module")
def dvc_stages():
    return YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers(graph, package: str) -> set[str]:
    return graph.find_modules_that_directly_import(package) if package in graph.modules else set()


def test_every_stage_has_its_folder_its_dvc_stage_its_section_and_its_tests(dvc_stages):
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    assert tuple(dvc_stages) == STAGES == tuple(params)
    for stage in STAGES:
        for name in ("__init__.py", "__main__.py", "params.py", "run.py"):
            assert (ROOT / "stages" / stage / name).is_file(), f"{stage}/{name}"
        assert list((ROOT / "tests" / "unit" / stage).glob("test_*.py")), stage


def test_every_dvc_stage_says_what_it_is_for(dvc_stages):
    for name, stage in dvc_stages.items():
        assert (stage.get("do") or stage)["desc"], name


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_cover_its_import_closure(stage, dvc_stages):
    entry = dvc_stages[stage].get("do") or dvc_stages[stage]
    deps = [ROOT / dep for dep in entry["deps"] if not dep.startswith("$")]
    folder = ROOT / "stages" / stage
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in folder.rglob("*.py")
    ]
    missing = set()
    for module in import_closure(*modules) - NEUTRAL_MODULES:
        path = module_path(module)
        if path.name == "__init__.py" and not path.read_text():
            continue
        if not any(path == dep or dep in path.parents for dep in deps):
            missing.add(relative(path))
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_file_that_it_does_not_use(stage, dvc_stages):
    """A needless code dependency re-runs a stage for nothing."""
    entry = dvc_stages[stage].get("do") or dvc_stages[stage]
    folder = ROOT / "stages" / stage
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in folder.rglob("*.py")
    ]
    used = {relative(module_path(module)) for module in import_closure(*modules)}
    for dep in entry["deps"]:
        if dep.startswith("stages/core"):
            assert any(path == dep or path.startswith(f"{dep}/") for path in used), dep


def test_only_the_torch_room_of_the_kernel_knows_frameworks_of_learning(graph):
    for package in LEARNING:
        for module in importers(graph, package):
            is_kernel = module.startswith("stages.core")
            assert not is_kernel or module.startswith("stages.core.nn"), f"{module}: {package}"


def test_pipelines_import_only_the_kernel_and_the_settings_of_stages(graph):
    for module in graph.find_descendants("pipelines") | {"pipelines"}:
        for imported in graph.find_modules_directly_imported_by(module):
            if imported.startswith("stages.") and not imported.startswith("stages.core"):
                assert imported.endswith(".params"), f"{module} imports {imported}"


def test_no_command_of_pipelines_reaches_a_framework_of_learning(graph):
    for package in LEARNING:
        if package in graph.modules:
            assert not graph.chain_exists("pipelines", package, as_packages=True), package


def test_mlflow_and_prefect_stay_where_they_belong(graph):
    for module in importers(graph, "mlflow"):
        assert module.startswith(("stages.core.tracking", "stages.registration")), module
    for module in importers(graph, "prefect"):
        assert module.startswith("pipelines"), module


def test_run_is_imported_by_its_own_command_alone(graph):
    for stage in STAGES:
        run = f"stages.{stage}.run"
        assert importers(graph, run) <= {f"stages.{stage}.__main__"}, run


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_and_functions_keep_their_size(path):
    text = path.read_text()
    limit = MAIN_LINES if path.name == "__main__.py" and "stages" in path.parts else MODULE_LINES
    assert len(text.splitlines()) <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_is_named_by_a_noun_and_says_why_it_exists(path):
    assert path.stem not in FORBIDDEN_NAMES
    if path.name == "__init__.py":
        assert path.read_text() == ""
    else:
        assert ast.get_docstring(ast.parse(path.read_text())), "a module docstring"
