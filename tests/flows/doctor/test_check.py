"""A subject crosses to the process of a check unchanged."""

import json

from flows.doctor.check import Subject


def test_a_subject_as_json() -> None:
    subject = Subject(root="s3://runs/a", sources=("s3://images", "here"))
    assert Subject.from_json(json.loads(json.dumps(subject.as_json()))) == subject
