"""Weights that an extractor takes from a file of someone else: known by their digest, and read as tensors only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from infra.digests import sha256
from infra.errors import InputError, Term
from infra.storage.open import read_file

_MAX_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A kind of file.

    Attributes:
        published: The names of the published files by their sha256; the figures of others are not those of the field.
        read: (bytes, name in an error) -> tensors by name; it runs no code of the file.
        remedy: Says where to get a published file.
    """

    published: Mapping[str, str]
    read: Callable[[bytes, str], dict[str, Tensor]]
    remedy: str

    def bytes_of(self, location: str, digest: str) -> bytes:
        """Return the bytes of a file that is known by its digest.

        Args:
            location: A local path or s3://bucket/key.
            digest: The sha256 that the file must have; empty for that of any published file.

        Raises:
            InputError: If it is not there, cannot be read or has another digest.
        """
        try:
            data = read_file(location, _MAX_BYTES)
        except InputError as error:
            error.remedy = error.remedy or self.remedy
            raise
        found = sha256(data)
        if digest and found != digest:
            raise InputError(f"has the sha256 {found}", item=location, remedy=f"{Term.WEIGHTS_DIGEST} says {digest}")
        if not digest and found not in self.published:
            remedy = f"{self.remedy}; for other weights, state their sha256 by {Term.WEIGHTS_DIGEST}"
            raise InputError(f"is no published file (sha256 {found})", item=location, remedy=remedy)
        return data
