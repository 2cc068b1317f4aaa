"""The options and settings of `ddpm` that replace each `Term` of infra, which knows none of them."""

from infra.errors import DdpmError, Term

OPTIONS = {
    Term.SOURCE: "prepare.source",
    Term.SOURCE_KIND: "prepare.kind",
    Term.TEST_SOURCE: "prepare.test_source",
    Term.TAKE_NO_SPLITS: "set prepare.use_splits=false",
    Term.LABELS: "prepare.labels",
    Term.LABEL_DEPTH: "prepare.label_depth",
    Term.RESIZE_FILTER: "prepare.resize_filter",
    Term.MAX_PIXELS: "prepare.max_pixels",
    Term.MAX_VALUE: "prepare.max_value",
    Term.IMAGE_KEY: "prepare.image_key",
    Term.SET_ASIDE: "set it aside with prepare.on_bad_image=quarantine",
    Term.WEIGHTS_DIGEST: "evaluate.extractor_sha256",
    Term.ONE_WORKER: "set train.workers=1",
    Term.UNCOMPILED: "leave train.compile and sample.compile off",
    Term.RUN_ANEW: "run with --force",
    Term.ANY_ENVIRONMENT: "drop --strict-environment",
    Term.WAIT: "drop --no-wait",
    Term.LONGER_WAIT: "wait longer by --patience",
    Term.ANOTHER_ROOT: "another --root",
    Term.ANOTHER_PORT: "another with --port",
    Term.BIND_ADDRESS: "--host",
    Term.SCHEDULE: "--cron",
    Term.TIME_ZONE: "--timezone",
    Term.MORE_TIME: "allow more by --timeout",
}


def name_options(error: DdpmError) -> None:
    """Replace the terms in an error's item and remedy by options; a second call changes nothing."""
    error.remedy = in_options(error.remedy)
    for term, option in OPTIONS.items():
        if error.item.startswith(term):
            error.item = f"{option}{error.item.removeprefix(term)}"


def in_options(text: str) -> str:
    """Return a text of infra with options in place of its terms."""
    for term, option in OPTIONS.items():
        if option not in text:  # as some options hold their term
            text = text.replace(term, option)
    return text
