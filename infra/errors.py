"""The errors that users see: one exception per kind, each with its exit code.

DdpmError
├── ConfigError     2  a setting or an option
├── InputError      3  the user's images
├── StorageError    4  the store is away; the same command may work later
├── ConflictError   5  another run holds the output, or another environment began it
├── IntegrityError  6  bytes are not what was sealed
├── ResourceError   7  memory, disk, CPUs, time, a worker that keeps dying
└── DivergedError   8  numbers that are not finite
"""

import json
from enum import StrEnum


class Term(StrEnum):
    """A setting or an action of the user, in words that suit every program that uses infra.

    An error holds it in its item or remedy; the program then replaces the term by its own option.
    """

    SOURCE = "the source of images"
    SOURCE_KIND = "the kind of source"
    TEST_SOURCE = "the held-out source of images"
    TAKE_NO_SPLITS = "take no splits"
    LABELS = "the way to label"
    LABEL_DEPTH = "the depth of the class folder"
    RESIZE_FILTER = "the filter of the resize"
    MAX_PIXELS = "the most pixels of an image"
    MAX_VALUE = "the value of white"
    IMAGE_KEY = "the key of the images"
    SET_ASIDE = "set bad images aside"
    WEIGHTS_DIGEST = "the digest of the weights"
    ONE_WORKER = "use one worker"
    UNCOMPILED = "do not compile"
    RUN_ANEW = "run anew"
    ANY_ENVIRONMENT = "allow other environments"
    WAIT = "allow waiting"
    LONGER_WAIT = "wait longer"
    ANOTHER_ROOT = "another root"
    ANOTHER_PORT = "another port"
    BIND_ADDRESS = "the address to bind"
    SCHEDULE = "the schedule"
    TIME_ZONE = "the time zone"
    MORE_TIME = "allow more time"


class DdpmError(Exception):
    """A failure that one line explains.

    Args:
        cause: The fault, with the offending value.
        item: The file, setting, unit or step it is about; a setting is a `Term`.
        remedy: The user's next step; it may hold a `Term`.
        stage: The stage; the pipeline fills it in if the raising code does not know it.
    """

    exit_code = 1

    def __init__(self, cause: str, *, item: str = "", remedy: str = "", stage: str = "") -> None:
        super().__init__(cause, item, remedy, stage)
        self.cause, self.item, self.remedy, self.stage = cause, item, remedy, stage

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.cause, self.item, self.remedy, self.stage)

    def __str__(self) -> str:
        parts = [part for part in (self.stage, self.item, self.cause) if part]
        line = ": ".join(parts) + (f" - {self.remedy}" if self.remedy else "")
        return "".join(char if char.isprintable() else " " for char in line)


def _restore(kind: type[DdpmError], cause: str, item: str, remedy: str, stage: str) -> DdpmError:
    return kind(cause, item=item, remedy=remedy, stage=stage)


class ConfigError(DdpmError):
    """A setting or an option is wrong."""

    exit_code = 2


class InputError(DdpmError):
    """The user's images, or another input, cannot be read."""

    exit_code = 3


class StorageError(DdpmError):
    """The store does not answer; the same command may work later."""

    exit_code = 4


class ConflictError(DdpmError):
    """Another run holds the output, or another environment began it."""

    exit_code = 5


class IntegrityError(DdpmError):
    """Bytes differ from their digest, or a self-test from its known answer."""

    exit_code = 6


class ResourceError(DdpmError):
    """Memory, disk, CPUs or the time limit do not suffice, or a worker keeps dying."""

    exit_code = 7


class DivergedError(DdpmError):
    """Training or sampling diverged: a number is not finite."""

    exit_code = 8


class Interrupted(SystemExit):
    """Ctrl-C, SIGTERM or a cancel from outside; it unwinds everything, also out of Ray's waits.

    Its notes name the work that is kept.
    """


def error_to_json(error: DdpmError) -> str:
    """Write an error as text, for channels that cannot carry exceptions."""
    return json.dumps([type(error).__name__, error.cause, error.item, error.remedy, error.stage])


def error_from_json(text: str) -> DdpmError:
    """Read what `error_to_json` wrote."""
    name, cause, item, remedy, stage = json.loads(text)
    kind = next(kind for kind in DdpmError.__subclasses__() if kind.__name__ == name)
    return kind(cause, item=item, remedy=remedy, stage=stage)
