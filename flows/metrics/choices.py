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


class MetricName(Choice):
    """The figures of a run."""

    FD = "fd", "Fréchet distance between the features of the samples and of the training split", ("extractor", "seed")
    BITS_PER_DIM = (
        "bits_per_dim",
        "Upper bound on the negative log-likelihood of held-out images, in bits/dim",
        ("bpd_images", "bpd_timesteps", "batch_size", "seed"),
    )
    KID = (
        "kid",
        "Kernel distance between the features of the samples and of the training split, without bias",
        ("extractor", "seed"),
    )
    INCEPTION_SCORE = (
        "inception_score",
        "How certain the extractor's classes of samples are, and how even; for extractors with classes",
        ("extractor",),
    )
    SFD = "sfd", "Fréchet distance of the layer of inception that keeps places", ("extractor", "seed")
    PRECISION_RECALL = (
        "precision_recall",
        "Share of samples among the training images, and of training images among the samples",
        ("extractor",),
    )
    DENSITY_COVERAGE = (
        "density_coverage",
        "Training images' balls around a sample, and the share of these balls that hold a sample",
        ("extractor",),
    )
    AUTH_PCT = "auth_pct", "Percentage of samples that are no near copies of training images", ("extractor",)
    FLD_GAP = (
        "fld_gap",
        "Log-likelihood of training images less that of held-out ones in a mixture around the samples' features",
        ("extractor", "seed"),
    )
