"""The Prefect API that a command uses, its owner, and that nothing of it stays behind."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import ConflictError, StorageError, Term
from infra.services.prefect.api import prefect_api
from infra.services.prefect.state_folder import state_folder
from tests.infra.services.prefect.conftest import Serving

# A command as `ddpm run` is: Prefect is imported first, by settings that name no API; threads of its own work with it.
FAILING_RUN = """
import json, sys, time
from infra.services.prefect.api import prefect_api
with prefect_api(sys.argv[1], say=print) as api:
    from prefect import flow
    from infra.services.prefect.run.run import PrefectRun
    @flow(persist_result=False)
    def failing():
        page = PrefectRun.current()
        with page.watched():
            page.show_progress("train", 50.0, "half")
            page.rename("half-way")
        raise ValueError("as planned")
    state = failing(return_state=True)
    print(json.dumps([api.url, state.name, str(state.state_details.flow_run_id)]))
"""


class _Answers(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[b"<html>hello</html>", b'{"status": "ok"}'], ids=["page", "json"])
def other_program(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of something else, which answers 200 to every question."""
    handler = type("Handler", (_Answers,), {"body": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_a_server_for_as_long_as_a_command_needs_it(no_settings: Path, tmp_path: Path) -> None:
    """The root's own database is in use by another command: this one gets another, and leaves nothing."""
    root, said, calls = str(tmp_path / "root"), [], []
    before = dict(os.environ)

    def meanwhile() -> None:
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=5)
        calls.append("called while the server starts")

    with state_folder(root) as (folder, owned):
        assert owned
        with pytest.raises(ConflictError, match="a `ddpm run`, which has a server of its own"):
            prefect_api(root, say=said.append, serve=True).__enter__()
        with prefect_api(root, say=said.append, meanwhile=meanwhile) as api:
            assert os.environ["PREFECT_API_URL"] == api.url
            with urllib.request.urlopen(f"{api.url}/health", timeout=5) as reply:
                assert reply.status == 200
            assert api.server is not None
            own = api.server.log.parent
            assert (own / "prefect.db").exists()
            assert "PREFECT_UI_URL" not in os.environ, "no later server shows the pages of this one"
    assert calls == ["called while the server starts"]
    assert own != folder
    assert not own.exists()
    assert not (folder / "prefect.db").exists()
    assert os.environ == before
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{api.url}/health", timeout=5)
    assert not said


def test_a_server_that_the_settings_name_must_answer(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(StorageError, match=r"no Prefect server answers at http://127\.0\.0\.1:9/api") as caught:
        prefect_api("root", say=print).__enter__()
    assert caught.value.exit_code == 4
    assert caught.value.item == "PREFECT_API_URL"


def test_another_program_is_no_prefect_server(
    no_settings: Path, other_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", other_program)
    with pytest.raises(StorageError, match=f"no Prefect server answers at {other_program} ") as caught:
        prefect_api("root", say=print).__enter__()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_a_given_server_is_used_and_left_alone(
    serving: Serving, no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", serving.api.url)
    with prefect_api("another root", say=print, serve=True) as api:
        assert (api.url, api.server) == (serving.api.url, None)
        assert api.ui == serving.api.url.removesuffix("/api")
    with urllib.request.urlopen(f"{serving.api.url}/health", timeout=5) as reply:
        assert reply.status == 200


def test_a_second_serve_of_one_root_is_refused(no_settings: Path, serving: Serving) -> None:
    with pytest.raises(ConflictError, match=f"another `ddpm serve` at {serving.api.ui}") as caught:
        prefect_api(serving.root, say=print, serve=True).__enter__()
    assert caught.value.exit_code == 5
    assert f"choose {Term.ANOTHER_ROOT}" in caught.value.remedy


def test_a_run_shows_on_the_pages_of_its_root(no_settings: Path, serving: Serving) -> None:
    """Here with settings of Prefect's that name no API; a failure leaves nothing in the home of the user."""
    (no_settings / "prefect.toml").write_text('[logging]\nlevel = "INFO"\n')
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    command = [sys.executable, "-c", FAILING_RUN, serving.root]
    done = subprocess.run(
        command, cwd=no_settings, env=environment, capture_output=True, text=True, timeout=90, check=True
    )
    url, name, run = json.loads(done.stdout.splitlines()[-1])
    assert (url, name) == (serving.api.url, "Failed")
    with urllib.request.urlopen(f"{url}/flow_runs/{run}", timeout=5) as reply:
        assert json.load(reply)["name"] == "half-way"
    assert "does not answer" not in done.stdout + done.stderr
    assert not list((Path(os.environ["HOME"]) / ".prefect").glob("storage/*"))


def test_threads_use_it_though_prefect_read_its_settings_before(serving: Serving) -> None:
    """As in this process, which imported Prefect first; a new thread has no settings of its own."""
    assert serving.url_of_threads == serving.api.url
