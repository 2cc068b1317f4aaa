"""The frame of every page: templates become HTML that needs no other file.

Every value is escaped. A value that a template uses but did not receive is an error, not a gap in the page.
"""

import base64
import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.pages import palette


def render(template: str, **values: object) -> str:
    """Render a template of this package.

    Args:
        template: The name of its file in `templates/`.
        values: The values that it shows.

    Raises:
        jinja2.UndefinedError: If the template uses a value that is not among `values`.
    """
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> Environment:
    """Return the environment of the templates, which escapes every value and fails if a value is missing."""
    templates = Environment(
        loader=PackageLoader("flows.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["palette"] = palette
    templates.filters["data_uri"] = functools.partial(_data_uri, "image/png")
    templates.filters["csv_uri"] = functools.partial(_data_uri, "text/csv")
    return templates


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
