"""Addresses of registered models: to the file and its digest, or one line that says what is missing."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.errors import ConfigError, InputError, StorageError
from infra.tracking.gate import tagged_figures
from infra.tracking.resolver import RegisteredFile, is_registered, registered_file, registered_weights
from tests.infra.tracking.test_registry import Models, measured
from tests.servers import free_ports


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a model of two versions, of which the second is not ours."""
    folder = tmp_path_factory.mktemp("resolver")
    models = Models(f"sqlite:///{folder / 'mlflow.db'}", folder, "digits")
    models.register(measured(7, 5.0))
    models.client.create_model_version("digits", "s3://bucket/theirs", await_creation_for=0)
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.mark.parametrize("address", ["models:/digits@champion", "models:/digits/1"])
def test_an_alias_and_a_version_lead_to_the_file(uri: str, address: str) -> None:
    found = registered_file(address, uri)
    assert found == RegisteredFile("/snapshots/7.safetensors", f"{7:064x}", "models:/digits/1", found.tags)
    assert [figure.value for figure in tagged_figures(found.tags)] == [5.0]


@pytest.mark.parametrize("address", ["models:/none@champion", "models:/digits@best", "models:/digits/9"])
def test_what_is_not_there_is_one_line(uri: str, address: str) -> None:
    with pytest.raises(InputError, match=r"no such registered model in MLflow at sqlite:///") as caught:
        registered_file(address, uri)
    assert (caught.value.item, caught.value.exit_code) == (address, 3)
    assert "\n" not in str(caught.value)


def test_all_versions_of_ours_are_found_by_their_weights(uri: str, tmp_path: Path) -> None:
    assert registered_weights(uri) == {"/snapshots/7.safetensors": "models:/digits/1"}
    assert registered_weights(f"sqlite:///{tmp_path}/none.db") == {}
    assert not list(tmp_path.iterdir()), "no database was made"


def test_a_server_that_is_away_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    with pytest.raises(StorageError, match=r"registered models: MLflow at .* did not answer"):
        registered_weights(f"http://127.0.0.1:{port}")


def test_a_version_of_others_names_no_snapshot(uri: str) -> None:
    with pytest.raises(InputError, match=r"^models:/digits/2: was not registered by a run of ours"):
        registered_file("models:/digits/2", uri)


@pytest.mark.parametrize(
    "address",
    [
        "models:/",
        "models:/a",
        "models:/a@",
        "models:/a/",
        "models:/a/latest",
        "models:/a/b/1",
        "models://a/1",
        "models:/@a",
    ],
)
def test_other_forms_are_refused(uri: str, address: str) -> None:
    assert is_registered(address)
    with pytest.raises(ConfigError, match="give models:/NAME@ALIAS"):
        registered_file(address, uri)


def test_files_and_urls_are_no_registered_models() -> None:
    assert not any(map(is_registered, ("models/a", "s3://models:/a", "/models:/a", "simplecache::models")))


def test_looking_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such registered model"):
        registered_file("models:/digits@champion", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_is_one_line_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    with pytest.raises(StorageError, match="did not answer") as caught:
        registered_file("models:/digits@champion", f"http://user:s3cret@127.0.0.1:{port}")
    assert f"MLflow at http://127.0.0.1:{port} did not answer (" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_broken_tag_is_no_address(uri: str) -> None:
    client = MlflowClient(uri)
    client.delete_model_version_tag("digits", "1", "ddpm.sha256")
    with pytest.raises(InputError, match="names no snapshot"):
        registered_file("models:/digits/1", uri)
    client.set_model_version_tag("digits", "1", "ddpm.sha256", f"{7:064x}")
