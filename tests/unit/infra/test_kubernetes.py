"""The manifests as kustomize makes them: valid, unprivileged, bounded, and without secrets."""

import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from tests.services.daemons import require

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).resolve().parents[3] / "infra" / "kubernetes"
BUILDS = ("base", "overlays/cpu", "overlays/gpu")
VERSION = "1.34"
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING|TOKEN")
yaml = YAML(typ="safe", pure=True)


def documents(text):
    return [one for one in yaml.load_all(text) if one]


def built(name):
    """What kustomize makes of a folder: kubectl has it built in, and asks no cluster."""
    require("kubectl")
    command = ["kubectl", "kustomize", str(FOLDER / name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)


@pytest.fixture(scope="module", params=BUILDS)
def manifests(request):
    return built(request.param)


def written():
    """Every resource of the base, without kustomize."""
    resources = yaml.load((FOLDER / "base" / "kustomization.yaml").read_text())["resources"]
    return [one for name in resources for one in documents((FOLDER / "base" / name).read_text())]


def of(manifests, kind):
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests):
    return {
        name: one["spec"]["template"]["spec"] for name, one in of(manifests, "Deployment").items()
    }


def containers(manifests):
    return {
        f"{name}/{one['name']}": one
        for name, pod in pods(manifests).items()
        for one in [*pod.get("initContainers", []), *pod["containers"]]
    }


def test_the_resources_as_written_are_those_of_the_published_schemas():
    for manifest in written():
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_what_kustomize_makes_is_valid_too(manifests):
    assert len(manifests) == 17
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_wrong_field_is_refused():
    (deployment, *_) = (one for one in written() if one["kind"] == "Deployment")
    deployment["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_every_file_belongs_to_a_kustomization_or_is_an_example():
    named = {"train-job.yaml", "jobset.yaml"}  # of one training; its launcher submits them
    for file in FOLDER.rglob("kustomization.yaml"):
        settings = yaml.load(file.read_text())
        names = [*settings["resources"], *(one["path"] for one in settings.get("patches", []))]
        for generator in settings.get("configMapGenerator", []):
            names += generator.get("files", []) + generator.get("envs", [])
        assert all((file.parent / name).exists() for name in names), file
        named |= {Path(name).name for name in names} | {"kustomization.yaml"}
    assert {file.name for file in FOLDER.rglob("*") if file.is_file()} <= named


def test_no_container_is_root_or_may_become_it(manifests):
    for name, pod in pods(manifests).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == security["fsGroup"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
    for name, container in containers(manifests).items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_every_container_has_limits_and_an_image_with_a_version(manifests):
    for name, container in containers(manifests).items():
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["limits"]) & set(resources["requests"]), name
        assert re.fullmatch(r"cloze:(cpu|cuda)-\d+\.\d+\.\d+", container["image"]), name


def test_secrets_are_references(manifests):
    assert not of(manifests, "Secret")
    for name, container in containers(manifests).items():
        for variable in container["env"]:
            if SECRET.search(variable["name"]):
                assert set(variable["valueFrom"]) == {"secretKeyRef"}, (name, variable["name"])
    for settings in of(manifests, "ConfigMap").values():
        assert not any(SECRET.search(key) for key in settings["data"])
        assert not any(
            re.search(r"://[^/\s]*:[^/\s]*@", text) for text in settings["data"].values()
        )


def test_the_secret_holds_what_the_environment_of_compose_holds(manifests):
    """One file of secrets serves both."""
    text = (FOLDER.parent / ".env.example").read_text()
    offered = set(re.findall(r"^(\w+)=$", text, re.MULTILINE))
    asked = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for container in containers(manifests).values()
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert asked == {name for name in offered if not name.startswith("CLOZE_")}


def test_passwords_are_looked_at_before_anything_starts(manifests):
    for name, pod in pods(manifests).items():
        first = pod["initContainers"][0]
        assert first["command"] == ["python", "-m", "pipelines.access"], name
        passwords = {one["name"] for one in pod["containers"][0]["env"] if "valueFrom" in one}
        assert passwords <= {one["name"] for one in first["env"]}, name


def test_servers_are_probed_and_named_by_a_service(manifests):
    for name in ("mlflow", "prefect"):
        (container,) = pods(manifests)[name]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
        service = of(manifests, "Service")[name]["spec"]
        template = of(manifests, "Deployment")[name]["spec"]["template"]
        assert service["selector"].items() <= template["metadata"]["labels"].items()
        assert service["ports"][0]["port"] == container["ports"][0]["containerPort"]


def test_only_the_worker_may_submit_jobs_and_only_those():
    manifests = built("overlays/gpu")
    mounts = {name: pod["automountServiceAccountToken"] for name, pod in pods(manifests).items()}
    assert mounts == {"mlflow": False, "prefect": False, "worker": True}
    assert pods(manifests)["worker"]["serviceAccountName"] == "worker"
    (role,) = of(manifests, "Role").values()
    allowed = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert allowed == {"trainjobs", "jobsets", "pods", "pods/log"}
    assert not any("*" in rule["verbs"] for rule in role["rules"])
    assert "ClusterRole" not in {one["kind"] for one in manifests}
    assert not pods(built("overlays/cpu"))["worker"]["automountServiceAccountToken"]


def test_the_gpu_worker_submits_to_the_claim_that_it_works_in():
    manifests = built("overlays/gpu")
    (worker,) = pods(manifests)["worker"]["containers"]
    given = {one["name"]: one.get("value") for one in worker["env"]}
    assert given["CLOZE_LAUNCHER"] == "kubernetes"
    (settings,) = (one for name, one in of(manifests, "ConfigMap").items() if "auth" not in name)
    data = settings["data"]
    assert data["CLOZE_KUBERNETES_CLAIM"] in of(manifests, "PersistentVolumeClaim")
    for name in ("CLOZE_STATE", "CLOZE_CHECKOUT"):
        assert given[name].startswith(f"{data['CLOZE_KUBERNETES_MOUNT']}/")
    assert worker["image"] == data["CLOZE_KUBERNETES_IMAGE"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_nobody_reaches_a_pod_that_no_policy_names(manifests):
    policies = of(manifests, "NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    (server,) = policies["servers"]["spec"]["ingress"]
    assert {port["port"] for port in server["ports"]} == {5000, 4200}
