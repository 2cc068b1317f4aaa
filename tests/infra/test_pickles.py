"""The machine behind every pickle that is read: a kind of pickle adds names, and nothing else gets a meaning."""

import pickle
from io import BytesIO

import pytest

from infra.errors import InputError
from infra.pickles import Global, PickleMachine


class Fractions(PickleMachine):
    """Knows one name, whose call stands for a text."""

    kind = "a pickle of fractions"
    remedy = "take another"

    def knows(self, name: str) -> bool:
        return name == "fractions Fraction"

    def called(self, name: str, arguments: object) -> object:
        return f"{name} of {arguments}"

    def set_state(self, target: object, state: object) -> None:
        raise self.damaged("nothing has a state")


def test_a_name_means_what_the_kind_says() -> None:
    call = b"cfractions\nFraction\nX\x03\x00\x00\x001/2\x85R."
    assert str(pickle.loads(call)) == "1/2"
    assert Fractions("x").run(BytesIO(call)) == "fractions Fraction of ('1/2',)"
    assert Fractions("x").run(BytesIO(b"cfractions\nFraction\n.")) == Global("fractions Fraction")


def test_pickles_one_after_the_other_in_one_stream() -> None:
    stream = BytesIO(pickle.dumps({"a": [1, 2]}, 2) + pickle.dumps("b", 2) + b"rest")
    assert Fractions("x").run(stream) == {"a": [1, 2]}
    assert Fractions("x").run(stream) == "b"
    assert stream.read() == b"rest"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"cos\nsystem\n.", "asks for os.system, which is refused"),
        (b"cfractions\nFraction\n)\x81.", "holds the pickle instruction NEWOBJ, which is refused"),
        (b"U\x01aQ.", "holds the pickle instruction BINPERSID, which is refused"),
        (b"}}b.", r"is not a pickle of fractions \(nothing has a state\)"),
        (b"]", r"is not a pickle of fractions \(it ends too early\)"),
    ],
)
def test_all_else_is_refused_in_one_line(data: bytes, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        Fractions("file").run(BytesIO(data))
    assert (caught.value.item, caught.value.remedy) == ("file", "take another")
