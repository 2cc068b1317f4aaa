"""A store below a prefix of an S3 bucket: every put is one request, so no object is ever half visible or missing."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.errors import ConfigError
from infra.storage import s3
from infra.storage.s3_client import Limits
from infra.storage.store import StoredObject, check_name


@dataclass(frozen=True)
class S3Store:
    """A prefix of a bucket.

    Attributes:
        bucket: The bucket, which must exist.
        prefix: Without slashes at its ends; empty for the whole bucket.
        limits: The bounds of every wait.
    """

    bucket: str
    prefix: str
    limits: Limits = field(default=Limits(), compare=False)

    @property
    def uri(self) -> str:
        """The s3:// URI."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def make(self) -> None:
        """Check that the bucket exists and supports `put_if_absent`.

        Raises:
            ConfigError: If it lets a second writer overwrite the first.
        """
        key = self._key(f".probe/{uuid.uuid4().hex}")
        try:
            first = s3.put_if_absent(self.bucket, key, b"first", limits=self.limits)
            second = s3.put_if_absent(self.bucket, key, b"second", limits=self.limits)
        finally:
            s3.delete(self.bucket, key, limits=self.limits)
        if not first or second:
            raise ConfigError(
                "the store ignores If-None-Match, so two writers could overwrite each other",
                item=f"root {self.uri}",
                remedy="use a store with conditional writes",
            )

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes, or a range of them; FileNotFoundError if it does not exist."""
        return s3.get(self.bucket, self._key(name), start=start, length=length, limits=self.limits)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make the whole object visible and durable; return False if the name is taken."""
        return s3.put_if_absent(self.bucket, self._key(name), data, limits=self.limits)

    def replace(self, name: str, data: bytes) -> None:
        """Replace the object's bytes as a whole and durably; readers see the old bytes or the new ones."""
        s3.put(self.bucket, self._key(name), data, limits=self.limits)

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return s3.head(self.bucket, self._key(name), limits=self.limits) is not None

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly in a folder, sorted, without looking into them."""
        found = s3.list_folders(self.bucket, self._below(prefix), limits=self.limits)
        return sorted(key.removeprefix(self._below(".")).rstrip("/") for key in found)

    def newest_folders(self, prefix: str) -> list[str]:
        """Return the same, because the store does not tell the age of a folder."""
        return self.folders(prefix)

    def list(self, prefix: str) -> list[str]:
        """Return the names below a folder, sorted; "." is the store itself."""
        return sorted(found.name for found in self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a folder, page by page; "." is the store itself."""
        for found in s3.list_objects(self.bucket, self._below(prefix), limits=self.limits):
            yield StoredObject(found.key.removeprefix(self._below(".")), found.size, found.changed_s)

    def now_s(self) -> float:
        """Return the time by the store's clock, to the second; by this machine's if the store does not say."""
        told = s3.store_time(self.bucket, limits=self.limits)
        return told.timestamp() if told is not None else time.time()

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens if it does not exist."""
        s3.delete(self.bucket, self._key(name), limits=self.limits)

    def _below(self, prefix: str) -> str:
        """Return the start of the keys below a folder; "." is the store itself."""
        if prefix == ".":
            return f"{self.prefix}/" if self.prefix else ""
        return f"{self._key(prefix)}/"

    def _key(self, name: str) -> str:
        check_name(name, self.uri)
        return f"{self.prefix}/{name}" if self.prefix else name
