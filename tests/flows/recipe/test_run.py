"""The identity of a run whose reference is a file: by the file's digest, where a chosen metric uses it."""

from pathlib import Path

import numpy as np

from flows.recipe.run import _reference_digest
from flows.recipe.settings import load_config
from infra.digests import sha256


def test_a_reference_counts_by_its_content_and_only_if_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "r.npz"
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3))
    given = f"evaluate.reference_statistics={file}"
    assert _reference_digest(load_config("digits", None, [given])) == sha256(file.read_bytes())
    assert _reference_digest(load_config("digits", None, [])) == ""
    assert _reference_digest(load_config("digits", None, [given, 'evaluate.metrics=["kid"]'])) == ""
