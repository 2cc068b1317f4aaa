"""The model card of an exported network: README.md in the form of the Hugging Face Hub, from recorded facts alone."""

from collections.abc import Sequence

from ddpm_core.network.image_size import size_text
from ddpm_core.network.unet import UNet
from flows.artifacts import figure_text
from flows.exchange.foreign_settings import Settings
from flows.exchange.origin import Origin
from flows.reconstruction import SIGMA_REL

CARD = "README.md"
_LICENCES = "https://huggingface.co/docs/hub/repositories-licenses"
_LOAD = """```python
from diffusers import DDPMPipeline

pipeline = DDPMPipeline.from_pretrained("FOLDER")  # this folder, or its name on the Hub
images = pipeline(batch_size=4, num_inference_steps={steps}).images
```"""
_LOAD_PARTS = """The network is conditioned on class labels, which `DDPMPipeline` does not pass. Load its parts:

```python
from diffusers import DDPMScheduler, UNet2DModel

unet = UNet2DModel.from_pretrained("FOLDER", subfolder="unet")  # this folder, or its name on the Hub
scheduler = DDPMScheduler.from_pretrained("FOLDER", subfolder="scheduler")
predicted = unet(x_t, t, class_labels=labels).sample  # labels from 0; {unlabelled} stands for no label
```"""


def model_card(network: UNet, scheduler: Settings, about: Settings, sha256: str, origin: Origin | None) -> str:
    """Return the card in Markdown; equal arguments give equal text.

    Args:
        network: The network.
        scheduler: The settings of its DDPMScheduler.
        about: The settings in the snapshot.
        sha256: The digest of the snapshot's bytes.
        origin: Where it comes from, if that is known.
    """
    parts = [
        _front_matter(conditional=bool(network.config.num_classes)),
        f"# {_text(origin.title) if origin else 'DDPM'}",
    ]
    parts += [_summary(network, scheduler), "## Use", _use(network, scheduler)]
    if origin is not None:
        parts += ["## Figures", _figures(origin, rebuilt=SIGMA_REL in about)]
    parts += ["## Provenance", _table(("", ""), _provenance(scheduler, about, sha256, origin))]
    if origin is None:
        parts.append(
            "The network was exported from a snapshot file alone, so its training data and figures are not known here."
        )
    parts += ["## Licence", "To be filled in by the publisher, here and as `license` at the top of this file."]
    return "\n\n".join(parts) + "\n"


def _front_matter(*, conditional: bool) -> str:
    """Return the metadata that the Hub reads; the licence is a comment, because only the publisher knows it."""
    task = "unconditional-image-generation"
    tasks = [] if conditional else [task]
    lines = ["---", f"# license: fill in one of {_LICENCES}", "library_name: diffusers"]
    lines += [f"pipeline_tag: {one}" for one in tasks]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in ("diffusers", "ddpm", *tasks)), "---"])


def _summary(network: UNet, scheduler: Settings) -> str:
    config = network.config
    weights = sum(weight.numel() for weight in network.parameters())
    classes = f", conditioned on {config.num_classes - 1} classes" if config.num_classes else ""
    channels = f"{config.in_channels} channel{'s' if config.in_channels > 1 else ''}"
    return (
        f"A denoising diffusion probabilistic model of {size_text(config.image_size)} images with "
        f"{channels}{classes}: a U-Net of {weights:,} weights, trained with ddpm-flows over "
        f"T = {scheduler['num_train_timesteps']} timesteps."
    )


def _use(network: UNet, scheduler: Settings) -> str:
    if network.config.num_classes:
        return _LOAD_PARTS.format(unlabelled=network.config.num_classes - 1)
    return _LOAD.format(steps=scheduler["num_train_timesteps"])


def _figures(origin: Origin, *, rebuilt: bool) -> str:
    remark, figures = origin.about_figures(rebuilt=rebuilt), origin.figures_of_network(rebuilt=rebuilt)
    rows = [(f"{figure.label} (`{figure.name}`)", figure_text(figure), figure.note) for figure in figures]
    return f"{remark}\n\n{_table(('figure', 'value', 'note'), rows)}" if rows else remark


def _provenance(scheduler: Settings, about: Settings, sha256: str, origin: Origin | None) -> list[tuple[str, str]]:
    rows = [
        ("snapshot, sha256 of the file", sha256),
        ("images that it was trained on, counting repeats", f"{about['images_seen']:,}"),
        ("predicted quantity", str(scheduler["prediction_type"])),
        ("training schedule", str(about["schedule"]["kind"])),
        ("variance in this folder's scheduler", str(scheduler["variance_type"])),
    ]
    if SIGMA_REL in about:
        rows.append(("EMA length (sigma_rel), rebuilt after training", f"{about[SIGMA_REL]:g}"))
    return rows if origin is None else [*origin.rows(rebuilt=SIGMA_REL in about), *rows]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Return text that stays in its cell and holds no HTML."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
