"""The options of the evaluation, each in one place; without torch, so that a config or a form can offer them."""

from ddpm_core.choices import Choice


class ExtractorName(Choice):
    """The features that a distance compares; the figure carries the extractor's name.

    Attributes:
        file: The file that it needs, and its origin; empty if it needs none.
        runs_code: Whether the file is a program, whose digest must therefore be stated.
    """

    file: str
    runs_code: bool

    def __new__(
        cls, name: str, description: str = "", uses: tuple[str, ...] = (), file: str = "", runs_code: bool = False
    ) -> "ExtractorName":
        """Make a member from its name, its description, the settings that it uses, and its file."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.description, member.uses = description, uses
        member.file, member.runs_code = file, runs_code
        return member

    AUTO = "auto", "classifier if the data has labels and it learns them, else pixels"
    CLASSIFIER = "classifier", "The last hidden layer of a small classifier, trained on the data's own labels"
    PIXELS = "pixels", "The pixels themselves, averaged down to at most 16x16"
    INCEPTION = (
        "inception",
        "The layer pool_3 of FID's Inception network, with weights from a file; the figure is then called fid",
        ("extractor_sha256",),
        "pt_inception-2015-12-05-6726825d.pth from github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, "
        "or NVIDIA's inception-2015-12-05.pt",
    )
    DINOV2 = (
        "dinov2",
        "The class token of DINOv2's ViT-L/14, with weights from a file; fd_dinov2 is then the field's FD-DINOv2",
        ("extractor_sha256",),
        "dinov2_vitl14_pretrain.pth from dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/, "
        "or model.safetensors of huggingface.co/facebook/dinov2-large",
    )
    PROGRAM = (
        "program",
        "The output of your own program, a TorchScript archive or an exported program; its code runs",
        ("extractor_sha256",),
        "a TorchScript archive (torch.jit.save) or an exported program (torch.export.save)",
        True,
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

    FD = "fd", "Fréchet distance between the features of the samples and of the training split", ("extractor", "seed")
    BITS_PER_DIM = (
        "bits_per_dim",
        "Upper bounds on the negative log-likelihood of held-out images, in bits/dim",
        ("likelihood", "bpd_images", "bpd_draws", "batch_size", "seed"),
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
    MEMORISED = (
        "memorised",
        "Share of samples nearer to one training image than almost all held-out images are",
        ("extractor",),
    )
    EMA_LENGTHS = (
        "ema_lengths",
        "Estimated bits/dim of held-out images by the length of the averaged weights, rebuilt after training",
        ("ema_lengths", "bpd_images", "batch_size", "seed"),
    )


# The metrics that take statistics in the place of reference images.
TO_STATISTICS = frozenset({MetricName.FD, MetricName.SFD})
