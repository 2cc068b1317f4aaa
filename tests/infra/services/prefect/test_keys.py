"""A server that asks for a key and listens on every network: who reaches it, and that nobody prints the key."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from infra.errors import ConfigError, Term
from infra.services.prefect.api import prefect_api
from infra.services.prefect.deployments import Deployment, register
from infra.services.prefect.settings import check_server, server_key
from infra.services.prefect.supervisor import claim_port
from tests.infra.services.prefect.test_deployments import deployed

KEY = "somebody:with-a-secret"
OTHERS = "127.0.0.2"  # an address of this machine that a server of this machine alone does not listen on


@pytest.mark.slow
def test_our_server_asks_for_the_key(
    no_settings: Path,
    tmp_path: Path,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With a key of the user for another server, and a second command on the same root."""
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", KEY)
    monkeypatch.setenv("PREFECT_API_KEY", "for-another-server")
    root, said = str(tmp_path / "root"), []
    with prefect_api(root, say=said.append, serve=True, host="0.0.0.0") as api:
        assert os.environ["PREFECT_API_AUTH_STRING"] == KEY, "what it starts shows it too"
        assert register(deployed, deployment).number
        elsewhere = api.ui.replace("127.0.0.1", OTHERS)
        with urllib.request.urlopen(f"{elsewhere}/ui-settings", timeout=5) as reply:
            settings = json.load(reply)
        assert (settings["api_url"], settings["auth"]) == ("/api", "BASIC")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{elsewhere}/api/admin/version", timeout=5)
        with prefect_api(root, say=said.append) as neighbour:
            assert (neighbour.url, neighbour.server) == (api.url, None)
        assert api.server is not None
        assert KEY not in api.server.log.read_text() + "\n".join(said)
        for key in ("", "somebody:else"):
            with (
                temporary_settings({PREFECT_API_AUTH_STRING: key}),
                pytest.raises(ConfigError, match="refuses the key of these settings, or asks for one") as caught,
            ):
                check_server(api.url)
            assert "PREFECT_API_AUTH_STRING" in caught.value.remedy
            assert "somebody" not in str(caught.value)
    assert os.environ["PREFECT_API_KEY"] == "for-another-server"
    assert "PREFECT_API_AUTH_STRING" not in os.environ
    assert KEY not in "".join(capfd.readouterr())


def test_the_key_is_found_wherever_the_settings_are(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_key() == ""
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", KEY)
    assert server_key() == KEY


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_this_machine_does_not_have(host: str) -> None:
    with pytest.raises(ConfigError, match=f"this machine has no address {host}") as caught:
        claim_port(0, host)
    assert caught.value.item == Term.BIND_ADDRESS
    assert "0.0.0.0" in caught.value.remedy
