"""The shared servers of one machine: pinned, healthy before others need them, closed by default."""

import configparser
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.core.secrets import password_faults

INFRA = Path(__file__).resolve().parents[3] / "infra"
TEXT = (INFRA / "compose.yaml").read_text()
EXAMPLE = (INFRA / ".env.example").read_text()
SERVICES = YAML(typ="safe", pure=True).load(TEXT)["services"]
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING|REDISCLI_AUTH")
LASTING = sorted(name for name, one in SERVICES.items() if one.get("restart") != "no")


def examples():
    return dict(line.split("=") for line in EXAMPLE.splitlines() if "=" in line and line[0] != "#")


def test_the_example_of_the_environment_names_every_variable_and_holds_no_value():
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert set(examples()) == used
    assert set(examples().values()) == {""}


def test_no_secret_has_a_default_and_each_must_be_set():
    for name in filter(SECRET.search, examples()):
        assert f"${{{name}:?" in TEXT, name
        assert f"${{{name}:-" not in TEXT, name


def test_secrets_come_from_the_environment_and_stand_in_no_command():
    for name, service in SERVICES.items():
        for variable, value in (service.get("environment") or {}).items():
            if SECRET.search(variable):
                assert re.match(r"\$\{\w+(:\?[^}]*)?\}$", value), (name, variable)
            assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value)), (name, variable)
        command = " ".join(map(str, service.get("command") or []))
        command = command.replace('"$$REDISCLI_AUTH" > /run/redis.conf', "")  # the shell's own
        assert not SECRET.search(command), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_have_a_version_and_no_registry(name):
    image = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SERVICES[name]["image"])
    assert re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+)?:[a-z-]*v?\d+\.\d+[\w.-]*", image), image


def test_only_the_proxy_is_reached_from_outside_and_by_default_from_this_machine():
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"proxy"}
    assert all(port.startswith("${CLOZE_BIND:-127.0.0.1}:") for port in published["proxy"])
    assert not any(one.get("network_mode") or one.get("privileged") for one in SERVICES.values())


@pytest.mark.parametrize("name", LASTING)
def test_what_stays_is_restarted_and_says_whether_it_is_well(name):
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert {"test", "interval", "retries"} <= set(SERVICES[name]["healthcheck"])
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def test_services_wait_until_what_they_need_is_well_or_done():
    for name, service in SERVICES.items():
        for needed, how in (service.get("depends_on") or {}).items():
            condition = "service_healthy" if needed in LASTING else "service_completed_successfully"
            assert how == {"condition": condition}, (name, needed)


def test_nothing_starts_before_its_passwords_were_looked_at():
    def before(name):
        found = set(SERVICES[name].get("depends_on") or {})
        return found.union(*(before(one) for one in found)) if found else found

    for name in set(LASTING) - {"proxy"}:
        assert "preflight" in before(name), name
    given = SERVICES["preflight"]["environment"]
    weak = dict.fromkeys(given, "changeme") | {"PREFECT_API_AUTH_STRING": "ada:changeme"}
    assert len(list(password_faults(weak))) == len(given) - len({"PGHOST", "PGUSER"})


def test_data_lies_in_named_volumes():
    named = set(YAML(typ="safe", pure=True).load(TEXT)["volumes"])
    used = {v.split(":")[0] for one in SERVICES.values() for v in one.get("volumes") or []}
    assert {name for name in used if not name.startswith(".")} == named
    for path in (name for name in used if name.startswith("./")):
        assert (INFRA / path).is_file(), path


def test_the_proxy_serves_each_page_by_tls_from_the_port_it_listens_on():
    caddy = (INFRA / "caddy" / "Caddyfile").read_text()
    for name in ("mlflow", "prefect"):
        port = SERVICES[name]["command"][SERVICES[name]["command"].index("--port") + 1]
        lines = [f"{name}.{{$CLOZE_DOMAIN}} {{", "tls {$CLOZE_TLS}", f"reverse_proxy {name}:{port}"]
        assert "\n\t".join([lines[0], *lines[1:]]) + "\n}" in caddy, name
    assert not re.search(r"^http://|:80\b", caddy, re.MULTILINE)


def test_mlflow_asks_for_a_password_and_its_file_holds_none():
    assert SERVICES["mlflow"]["command"][-2:] == ["--app-name", "basic-auth"]
    file = INFRA / SERVICES["mlflow"]["volumes"][0].split(":")[0]
    parser = configparser.ConfigParser()
    parser.read(file)
    assert dict(parser["mlflow"]) == {
        "default_permission": "READ",
        "database_uri": "postgresql:///mlflow_auth",
        "auth_cache_ttl_seconds": "60",
    }


def test_prefect_sends_its_messages_one_by_one():
    """prefect-redis 0.3.0 clears a batch after an await, and with it what came meanwhile."""
    sent = SERVICES["prefect"]["environment"]["PREFECT_REDIS_MESSAGING_PUBLISHER_BATCH_SIZE"]
    manifest = (INFRA / "kubernetes" / "base" / "prefect.yaml").read_text()
    assert sent == "1"
    assert '{name: PREFECT_REDIS_MESSAGING_PUBLISHER_BATCH_SIZE, value: "1"}' in manifest
