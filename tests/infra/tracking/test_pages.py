"""Addresses of pages: they open in MLflow 3.17 and hold no password."""

import pytest

from infra.tracking.pages import run_page, runs_page, server_command, shown


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://user:pw@host:5000/path", "http://host:5000/path"),
        ("http://user:p@w@host", "http://host"),
        ("http://host", "http://host"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("./mlruns", "./mlruns"),
        ("databricks", "databricks"),
    ],
)
def test_the_address_is_shown_without_a_password(uri: str, expected: str) -> None:
    assert shown(uri) == expected


def test_the_runs_page_opens_as_a_list_of_training_runs() -> None:
    listed = "/#/experiments/7/runs?workflowType=machine_learning"
    assert runs_page("http://host:5000/", "7") == f"http://host:5000{listed}"
    assert runs_page("https://user:pw@host/mlflow", "7") == f"https://host/mlflow{listed}"
    assert runs_page("sqlite:////a/mlflow.db", "7") == f"http://127.0.0.1:5000{listed}"


def test_a_run_has_a_page_only_on_a_server() -> None:
    assert run_page("http://user:pw@host:5000/", "7", "abc") == "http://host:5000/#/experiments/7/runs/abc"
    assert run_page("sqlite:////a/mlflow.db", "7", "abc") == ""


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        ("sqlite:////a/mlflow.db", "mlflow ui --backend-store-uri sqlite:////a/mlflow.db"),
        ("sqlite:////a b/mlflow.db", "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"),
        ("./mlruns", "mlflow ui --backend-store-uri ./mlruns"),
        ("http://host:5000", ""),
        ("postgresql://user:pw@host/db", ""),
        ("databricks", ""),
        ("databricks://profile", ""),
        ("", ""),
    ],
)
def test_only_a_store_of_this_machine_has_a_command(uri: str, command: str) -> None:
    assert server_command(uri) == command
