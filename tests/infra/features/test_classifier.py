"""The classifier: deterministic, of the stated size, and it really knows the digits."""

import pytest
import torch

import infra.features.classifier
from infra.features.classifier import CLASSIFIER, FEATURE_DIM, Classifier, accuracy, features, train_classifier
from infra.features.extractor import FEATURES, Accuracy, LabelledImages
from infra.sources.fit import fit
from infra.sources.kinds.digits import DigitsSource
from infra.sources.shape import Shape


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    source = DigitsSource()
    entries = list(source.find())
    decoded = [source.decode(entry, content) for entry, content in zip(entries, source.read(entries), strict=True)]
    images = [torch.from_numpy(fit(image, Shape(height=8, width=8, channels=1), "digit").copy()) for image in decoded]
    return torch.stack(images), torch.tensor([int(entry.label) for entry in entries])


def test_the_classifier_learns_the_digits(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = digits
    held_out = torch.arange(len(images)) % 5 == 0
    network = train_classifier(images[~held_out], labels[~held_out], 10)
    assert not network.training
    assert accuracy(network, [LabelledImages(images=images[held_out], labels=labels[held_out])], 10).share > 0.9
    found = features(network, images[held_out])
    assert found.shape == (int(held_out.sum()), FEATURE_DIM)
    assert found.dtype == torch.float32
    assert torch.linalg.matrix_rank(found.double()) > 10, "features tell more than the class"
    # The head alone turns the features into the scores: they are the last hidden layer.
    assert torch.allclose(network.head(found), network(images[held_out].float() / 255))


def test_training_is_a_function_of_its_data(
    digits: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 10)
    images, labels = digits
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        weights.append(train_classifier(images, labels, 10).state_dict())
        assert torch.equal(torch.random.get_rng_state(), before), "the caller's generator is left alone"
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    other = train_classifier(images, labels.flip(0), 10).state_dict()
    assert not torch.equal(weights[0]["head.weight"], other["head.weight"])


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_classifier_takes_every_shape(size: int, channels: int) -> None:
    network = Classifier(channels, 7).eval()
    images = torch.zeros(2, channels, size, size, dtype=torch.uint8)
    assert network(images.float()).shape == (2, 7)
    assert features(network, images).shape == (2, FEATURE_DIM)


def test_features_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = Classifier(1, 10).eval()
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)
    whole = features(network, images)
    assert torch.allclose(whole[7:9], features(network, images[7:9]), atol=1e-6)


def test_accuracy_is_the_share_of_right_answers() -> None:
    torch.manual_seed(0)
    network = Classifier(1, 3).eval()
    images = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8)
    truth = network(images.float() / 255).argmax(1)
    largest = int(torch.bincount(truth).max())
    whole = [LabelledImages(images=images, labels=truth)]
    assert accuracy(network, whole, 3) == Accuracy(right=30, images=30, largest_class=largest)
    wrong = truth.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    parts = [LabelledImages(images=images[part], labels=wrong[part]) for part in (slice(7), slice(7, None))]
    found = accuracy(network, parts, 3)
    assert (found.right, found.images, found.share) == (24, 30, pytest.approx(0.8))
    assert accuracy(network, [], 3) is None


def test_a_fitted_one_opens_from_its_weights_alone(
    digits: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infra.features.classifier, "_STEPS", 10)
    images, labels = digits
    train, held_out = (
        LabelledImages(images=images[part], labels=labels[part]) for part in (slice(99, None), slice(99))
    )
    assert CLASSIFIER.fit is not None
    fitted = CLASSIFIER.fit(train, [held_out], 10)
    opened = CLASSIFIER.open(fitted.weights, fitted.shape)(held_out.images)[FEATURES]
    network = train_classifier(train.images, train.labels, 10)
    assert torch.equal(opened, features(network, held_out.images))
    assert fitted.accuracy == accuracy(network, [held_out], 10)
