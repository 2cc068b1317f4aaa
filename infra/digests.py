"""Digests, and the one way to write JSON that is digested."""

import hashlib
import json
from typing import Any

Json = dict[str, Any]


def sha256(data: bytes) -> str:
    """The hexadecimal SHA-256 digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
