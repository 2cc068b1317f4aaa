"""Runs that differ in their seeds alone are one, with a mean and a standard deviation over the seeds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from flows.comparison.trial import mean_over_seeds, of_latest_rules, replicates
from tests.flows.comparison.trials import BOUND, bound, distance, trial


class TestGroups:
    def test_seeds_alone(self) -> None:
        runs = [
            trial("a", sample__seed=0, evaluate__seed=0, train__dropout=0.1),
            trial("b", sample__seed=0, evaluate__seed=0, train__dropout=0.2),
            trial("c", sample__seed=1, evaluate__seed=0, train__dropout=0.1),
            trial("d", sample__seed=0, evaluate__seed=5, train__dropout=0.1),
        ]
        assert [[run.name for run in group] for group in replicates(runs)] == [["a", "c", "d"], ["b"]]

    def test_the_seed_of_training_makes_another_network(self) -> None:
        runs = [trial("a", train__seed=0), trial("b", train__seed=1)]
        assert len(replicates(runs)) == 2
        runs = [trial("a", sample__seed=0), trial("b", sample__seed=1, snapshot="t" * 64)]
        assert len(replicates(runs)) == 2

    def test_equal_seeds_count_once(self) -> None:
        runs = [trial("a", sample__seed=0), trial("b", sample__seed=0), trial("c", sample__seed=1)]
        assert [[run.name for run in group] for group in replicates(runs)] == [["a", "c"], ["b"]]

    def test_an_earlier_releases_rules_make_another_result(self) -> None:
        runs = [
            replace(trial(name, sample__seed=seed), rules={"rules of train": version, "rules of sample": 4})
            for seed, (name, version) in enumerate((("old", 2), ("new", 3), ("newer", 3)))
        ]
        assert [[run.name for run in group] for group in replicates(runs)] == [["old"], ["new", "newer"]]
        assert [run.name for run in of_latest_rules(runs)] == ["new", "newer"]
        assert [run.name for run in of_latest_rules(runs[:1])] == ["old"], "alone it is like itself"
        assert of_latest_rules([]) == []


class TestMean:
    def test_a_single_run_stays_as_it_is(self) -> None:
        run = trial("a", distance(3.0), sample__seed=0)
        assert mean_over_seeds([run]) is run

    def test_without_terms_the_error_is_that_over_seeds(self) -> None:
        """3, 4 and 8: mean 5, variance (4 + 1 + 9) / 2 = 7."""
        group = [trial(str(seed), distance(value), sample__seed=seed) for seed, value in enumerate((3.0, 4.0, 8.0))]
        mean = mean_over_seeds(group)
        fid = mean.measurements["fid"]
        assert (fid.value, fid.seeds, fid.terms) == (5.0, 3, 3)
        assert fid.deviation == pytest.approx(math.sqrt(7))
        assert fid.standard_error == pytest.approx(math.sqrt(7 / 3))
        assert mean.name == "0 and 2 more seeds"
        assert mean.runs == ("0", "1", "2")
        assert mean.settings["sample.seed"] == (0, 1, 2)
        assert mean.inputs["samples"] == "several"

    def test_with_terms_the_error_is_that_over_images_of_the_averaged_terms(self) -> None:
        first, second = np.array([1.0, 5.0, 3.0]), np.array([3.0, 5.0, 7.0])
        mean = mean_over_seeds(
            [trial("a", bound(first), evaluate__seed=0), trial("b", bound(second), evaluate__seed=1)]
        )
        found = mean.measurements[BOUND]
        assert (found.value, found.seeds, found.terms) == (4.0, 2, 3)
        assert found.deviation == pytest.approx(math.sqrt(2))
        # The averaged terms are 2, 5, 5, with variance 3.
        assert found.standard_error == pytest.approx(1.0)
        assert found.per_image is not None
        assert list(found.per_image) == [2, 5, 5]

    def test_a_seed_without_effect_counts_once(self) -> None:
        """The bound does not depend on the samples' seed: two runs share one value, which is no second draw."""
        group = [
            trial("a", bound([1, 2, 3]), distance(1.0), sample__seed=0),
            trial("b", bound([1, 2, 3]), distance(2.0), sample__seed=1),
        ]
        mean = mean_over_seeds(group)
        assert (mean.measurements[BOUND].seeds, mean.measurements[BOUND].deviation) == (1, None)
        assert mean.measurements[BOUND].standard_error == pytest.approx(math.sqrt(1 / 3))
        assert mean.measurements["fid"].seeds == 2

    def test_a_tie_of_different_samples_is_two_draws(self) -> None:
        """0.98, 0.98 and 0.96: the mean is 2.92 / 3, and the variance (2 * 0.02 ** 2 / 3) / 2."""
        group = [trial(str(seed), distance(value), sample__seed=seed) for seed, value in enumerate((0.98, 0.98, 0.96))]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.value, fid.seeds, fid.terms) == (pytest.approx(2.92 / 3), 3, 3)
        assert fid.deviation == pytest.approx(math.sqrt(0.02**2 / 3))

    def test_other_blocks_of_the_same_samples_are_no_other_draws(self) -> None:
        """The seed of the evaluation moves a kernel distance by 0.02; its error as a measure of the network is 0.5."""
        group = [
            trial(str(seed), distance(value, error), samples="one", evaluate__seed=seed)
            for seed, (value, error) in enumerate(((3.0, 0.4), (3.04, 0.6)))
        ]
        mean = mean_over_seeds(group)
        fid = mean.measurements["fid"]
        assert (fid.value, fid.seeds, fid.terms) == (pytest.approx(3.02), 2, 10)
        assert fid.standard_error == pytest.approx(0.5)
        assert fid.deviation == pytest.approx(0.04 / math.sqrt(2))
        assert mean.inputs["samples"] == "one"

    def test_other_blocks_of_several_samples_are_averaged_first(self) -> None:
        """Two blocks of samples a have the mean 2, one of samples b has 6: two draws, with deviation sqrt(8)."""
        group = [
            trial(str(seed), distance(value, 0.1), samples=samples, sample__seed=samples, evaluate__seed=seed)
            for seed, (value, samples) in enumerate(((1.0, "a"), (3.0, "a"), (6.0, "b")))
        ]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.value, fid.seeds, fid.terms) == (4.0, 3, 2)
        assert fid.standard_error == pytest.approx(math.sqrt(8 / 2))
        assert mean_over_seeds(group).inputs["samples"] == "several"

    def test_without_an_error_the_same_samples_have_none(self) -> None:
        group = [trial(str(seed), distance(float(seed)), samples="one", evaluate__seed=seed) for seed in range(2)]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.standard_error, fid.deviation) == (None, pytest.approx(math.sqrt(0.5)))

    def test_a_figure_that_one_run_lacks_has_no_mean(self) -> None:
        mean = mean_over_seeds([trial("a", distance(1.0), sample__seed=0), trial("b", sample__seed=1)])
        assert mean.measurements == {}


class TestTrainings:
    """Runs that differ in the seed of training too."""

    def test_the_spread_of_the_networks_is_a_part_of_the_error(self) -> None:
        first, second = np.array([1.0, 5.0, 3.0]), np.array([3.0, 5.0, 7.0])
        group = [
            trial(str(seed), bound(terms), snapshot=str(seed), train__seed=seed, sample__seed=seed)
            for seed, terms in enumerate((first, second))
        ]
        mean = mean_over_seeds(group)
        found = mean.measurements[BOUND]
        assert (found.value, found.seeds, found.networks) == (4.0, 2, 2)
        # The networks' means are 3 and 5, with deviation sqrt(2); the averaged terms 2, 5, 5 have variance 3.
        assert found.between == pytest.approx(1.0)
        assert found.standard_error == pytest.approx(math.sqrt(1 + 1))
        # Satterthwaite: 2^2 / (1 / 2 + 1 / 1) = 2.67 degrees of freedom.
        assert found.terms == 3
        assert mean.settings["train.seed"] == (0, 1)
        assert mean.inputs["snapshot"] == "several"

    def test_without_terms_the_networks_are_the_draws(self) -> None:
        group = [
            trial(str(seed), distance(value), snapshot="a" if seed < 2 else "b", sample__seed=seed)
            for seed, value in enumerate((1.0, 3.0, 6.0))
        ]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.value, fid.networks, fid.terms) == (4.0, 2, 2)
        assert fid.standard_error == pytest.approx(math.sqrt(8 / 2))

    def test_equal_values_of_several_networks_count_each(self) -> None:
        values = (0.98, 0.98, 0.96)
        group = [
            trial(str(seed), distance(value, 0.1), snapshot=str(seed), train__seed=seed)
            for seed, value in enumerate(values)
        ]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.value, fid.seeds, fid.networks, fid.terms) == (pytest.approx(2.92 / 3), 3, 3, 3)
        equal = [trial(str(seed), distance(1.0, 0.1), snapshot=str(seed), train__seed=seed) for seed in range(3)]
        same = mean_over_seeds(equal).measurements["fid"]
        assert (same.value, same.networks, same.deviation, same.between) == (1.0, 3, 0.0, 0.0)
        assert same.standard_error == 0.1, "that of one run: an equal value is no certain one"

    def test_one_network_has_no_such_part(self) -> None:
        group = [trial(str(seed), distance(float(seed)), sample__seed=seed) for seed in range(2)]
        fid = mean_over_seeds(group).measurements["fid"]
        assert (fid.networks, fid.between) == (1, None)
