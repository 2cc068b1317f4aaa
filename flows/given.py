"""An input of a run from outside, such as the network that training starts from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Given:
    """An input from outside, as it was found when the run began.

    Attributes:
        digest: The digest of its content.
        place: Where it was found, in the form that may be shown.
        remark: A remark on how it was found; empty for none.
    """

    digest: str
    place: str
    remark: str = ""
