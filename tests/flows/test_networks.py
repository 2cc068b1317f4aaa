"""A network's digest is that of its content: the same in every file, another after any change that matters."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.network.unet import UNet
from flows.networks import attention_levels, find_network, network_digest
from flows.points import read_points
from flows.snapshot import TrainedNetwork, make_schedule
from infra.digests import sha256
from infra.errors import InputError
from tests.conftest import TinyRun
from tests.flows.conftest import NAME
from tests.flows.exchange.diffusers_folders import LINEAR
from tests.oracles.unet import SMALL, with_random_weights


def trained(
    schedule: dict[str, Any] | None = None,
    parameterisation: Parameterisation = Parameterisation.EPS,
    variance: Variance | None = None,
    **network: Any,
) -> TrainedNetwork:
    net = UNet(replace(SMALL, **network))
    with_random_weights(net)
    return TrainedNetwork(net, make_schedule(**LINEAR | (schedule or {})), parameterisation, variance)


SAME: list[dict[str, Any]] = [
    {},
    {"dropout": 0.5},
    {"image_size": 16, "attention_resolutions": (8,)},
    {"attention_resolutions": (4, 4)},
]
# Attention at the third level, not the second, among them.
OTHER: list[dict[str, Any]] = [
    {"num_heads": 2},
    {"norm_groups": 2},
    {"attention_resolutions": (2,)},
    {"scale_shift_norm": True},
    {"num_classes": 3},
    {"learned_variance": True, "variance": Variance.LEARNED},
    {"learned_variance": True, "variance": Variance.LEARNED_RANGE},
    {"parameterisation": Parameterisation.V},
    {"schedule": {"num_timesteps": 30}},
]


@pytest.mark.parametrize("change", SAME, ids=str)
def test_a_change_without_effect_on_the_weights_keeps_the_digest(change: dict[str, Any]) -> None:
    assert network_digest(trained(**change)) == network_digest(trained())


def test_every_other_change_gives_a_digest_of_its_own() -> None:
    assert len({network_digest(trained(**change)) for change in [{}, *OTHER]}) == len(OTHER) + 1


def test_one_bit_of_one_weight_counts_and_its_place_in_memory_does_not() -> None:
    network = trained()
    before = network_digest(network)
    weight = network.network.conv_in.weight
    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    assert network_digest(network) == before
    weight.data[0, 0, 0, 0] = torch.nextafter(weight.data[0, 0, 0, 0], torch.tensor(9.0))
    assert network_digest(network) != before


def test_levels() -> None:
    assert attention_levels(SMALL) == [1]
    assert attention_levels(replace(SMALL, attention_resolutions=(2, 8))) == [0, 2]


def test_a_run_is_found_by_its_name_and_a_path_needs_a_slash(finished: TinyRun) -> None:
    trained = finished.snapshot.manifest(finished.store)
    found = find_network(NAME, finished.store)
    assert found.place == f"{finished.root}/{trained.folder}/{trained.units[0]['file']}"
    assert network_digest(find_network(found.place, finished.store).trained) == network_digest(found.trained)
    with pytest.raises(InputError, match="no finished run of that name"):
        find_network("net.safetensor", finished.store)


def test_a_point_of_a_run_is_found_by_its_place(finished: TinyRun) -> None:
    points = read_points(finished.snapshot.manifest(finished.store).facts)
    assert len(points) > 1
    found = find_network(f"{NAME}@{points[0].images_seen}", finished.store)
    assert found.place.endswith(points[0].file)
    assert sha256(found.data) == points[0].sha256
    best = find_network(f"{NAME}@best", finished.store)
    assert network_digest(best.trained) != network_digest(found.trained) or best.place == found.place
    with pytest.raises(InputError, match="has no point at 3 images"):
        find_network(f"{NAME}@3", finished.store)
