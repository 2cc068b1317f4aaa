"""The options of the evaluation, each in one place; without torch, so that a config or a form can offer them."""

from ddpm_core.choices import Choice


class ExtractorName(Choice):
    """The features that a distance compares; the figure carries the extractor's name."""

    AUTO = "auto", "classifier if the data has labels and it learns them, else pixels"
    CLASSIFIER = "classifier", "The last hidden layer of a small classifier, trained on the data's own labels"
    PIXELS = "pixels", "The pixels themselves, averaged down to at most 16x16"
    INCEPTION = (
        "inception",
        "The layer pool_3 of FID's Inception network, with weights from a file; the figure is then called fid",
        ("extractor_sha256",),
    )


class Likelihood(Choice):
    """The ways to measure how likely held-out images are."""

    BOUND = "bound", "Upper bound by all T timesteps"
    ESTIMATE = "estimate", "Unbiased estimate of that bound from a few timesteps per image", ("bpd_timesteps",)
    FLOW = (
        "flow",
        "Upper bound by the probability-flow ODE, for images with uniform noise one level wide",
        ("flow_steps",),
    )


class MetricName(Choice):
    """The figures of a run."""

    FD = "fd", "Fréchet distance between the features of the samples and of the training split", ("extractor",)
    BITS_PER_DIM = (
        "bits_per_dim",
        "Upper bounds on the negative log-likelihood of held-out images, in bits/dim",
        ("likelihood", "bpd_images", "bpd_draws", "batch_size", "seed"),
    )
