"""No secret of the environment is in a line, in any of the ways that libraries write it."""

import pytest

from flows.doctor.redaction import redacted, secrets_of

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary/secret+one",
    "MLFLOW_TRACKING_PASSWORD": "canary two",
    "PREFECT_API_KEY": "pnu_canary3",
    "PREFECT_API_AUTH_STRING": "admin:canary4",
    "MLFLOW_TRACKING_URI": "http://me:canary%2F5@host:5000/x",
}


@pytest.mark.parametrize(
    "text",
    [
        "SignatureDoesNotMatch for canary/secret+one",
        "canary%2Fsecret%2Bone in a query",
        "401 for canary two",
        "key pnu_canary3 refused",
        "basic admin:canary4",
        "password canary4 alone",
        "http://me:canary%2F5@host:5000/x does not answer",
        "password canary/5",
        "https://other:canary6@elsewhere/x, which no variable holds",
    ],
)
def test_each_form_of_a_secret_is_taken_out(text: str) -> None:
    assert "canary" not in redacted(text, secrets_of(SECRETS))


def test_the_rest_stays() -> None:
    others = {"RAY_AUTH_TOKEN_PATH": "/home/me/token", "HOME": "/home/me", "PREFECT_API_URL": "http://host:4200/api"}
    text = "/home/me/token at http://host:4200/api"
    assert redacted(text, secrets_of(SECRETS | others)) == text
    assert redacted("abc is short", secrets_of({"A_TOKEN": "abc"})) == "abc is short", "it would be in many words"
