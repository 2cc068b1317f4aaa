"""The frame of every page: templates become HTML that needs no other file.

Every value is escaped. If a template uses a value that it did not receive, that is an error, not an empty place.
"""

import base64
import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.pages import palette


def render(template: str, **values: object) -> str:
    """Fill in a template of this package.

    Args:
        template: Its file's name in `templates/`.
        values: The values that it shows.

    Raises:
        jinja2.UndefinedError: If the template uses a value that is not among them.
    """
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> Environment:
    """Return the environment of the templates: it escapes every value, and fails if a value is missing."""
    made = Environment(
        loader=PackageLoader("flows.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["palette"] = palette
    made.filters["data_uri"] = _data_uri
    return made


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
