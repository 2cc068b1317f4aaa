"""Choices are their names, describe themselves and refuse other names."""

import copy

import pytest

from ddpm_core.choices import (
    Choice,
    Loss,
    NetworkVariance,
    Parameterisation,
    Sampler,
    ScheduleKind,
    StepVariance,
    Variance,
)

KINDS = (Loss, NetworkVariance, Parameterisation, Sampler, ScheduleKind, StepVariance, Variance)
MEMBERS = [member for kind in KINDS for member in kind]


def test_no_kind_is_forgotten_here():
    assert set(KINDS) == {kind for kind in Choice.__subclasses__() if kind.__module__ == "ddpm_core.choices"}


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_is_its_name_with_a_line_about_it(member):
    assert (member, str(member), member.value) == (member.name.lower(),) * 3
    assert member.description
    assert "\n" not in member.description
    assert not member.description.endswith(".")
    assert len(set(member.uses)) == len(member.uses)


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_stays_itself_on_the_way_to_a_worker(member):
    assert copy.deepcopy(member) is member
    assert type(member)(member.value) is member


@pytest.mark.parametrize("name", ["heun", "DDPM", "", None, 3])
def test_another_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=f"^Sampler must be one of {', '.join(Sampler)}; got {name!r}$"):
        Sampler(name)


def test_a_learned_variance_is_what_the_network_learned():
    assert [kind.learned for kind in NetworkVariance] == [None, Variance.LEARNED, Variance.LEARNED_RANGE]
    assert all(kind.learned is None or kind.learned.is_learned for kind in NetworkVariance)


@pytest.mark.parametrize("learned", [None, Variance.LEARNED, Variance.LEARNED_RANGE])
def test_the_steps_take_a_fixed_variance_or_the_learned_one(learned):
    assert [kind.of(learned) for kind in StepVariance] == [Variance.FIXED_SMALL, Variance.FIXED_LARGE, learned]
