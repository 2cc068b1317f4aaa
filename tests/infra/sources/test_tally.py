"""Counts by name that stay few, whatever the names are."""

from infra.sources.tally import OTHERS, Tally


def counted(**counts: int) -> Tally:
    tally = Tally()
    for name, count in counts.items():
        tally.add(name, count)
    return tally


def test_few_names_are_all_told_apart() -> None:
    assert not Tally()
    assert list(counted(c=1, b=2, a=1).few().items()) == [("b", 2), ("a", 1), ("c", 1)]


def test_the_most_frequent_of_many_come_first_and_none_is_lost() -> None:
    assert list(counted(c=1, b=2, a=1, d=5).few(2).items()) == [("d", 5), ("b", 2), (OTHERS, 2)]
    assert list(counted(c=1, b=1, a=1).few(2)) == ["a", "b", OTHERS]


def test_a_million_names_take_no_memory_each() -> None:
    tally = counted(mask=3)
    for number in range(100_000):
        tally.add(f"k{number}")
    tally.add("mask", 2)
    assert len(tally._counts) == 1001
    few = tally.few()
    assert (few["mask"], sum(few.values()), len(few)) == (5, 100_005, 13)
