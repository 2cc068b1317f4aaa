"""Templates: every value is escaped, a missing one is an error, pictures are inside, and nothing happens at import."""

import base64
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from jinja2.exceptions import TemplateRuntimeError

from flows.pages import page
from flows.pages.page import environment, render

TOP = Path(__file__).parents[3]
TEMPLATES = sorted(path.name for path in (TOP / "flows/pages/templates").iterdir())
PAGES = ["card.html", "report.html"]
HOSTILE = '<b>&"x'


def filled(body: str, **values: object) -> str:
    """A page of a template made for the test."""
    source = '{% extends "frame.html" %}{% from "parts.html" import enlarged, picture %}'
    source += "{% block title %}{{ title }}{% endblock %}{% block body %}" + body + "{% endblock %}"
    return environment().from_string(source).render(values)


def test_every_value_is_escaped_in_text_and_in_attributes() -> None:
    made = filled('<p title="{{ title }}">{{ title }}</p>{{ picture(png, title) }}', title=HOSTILE, png=b"")
    assert made.count("&lt;b&gt;&amp;&#34;x") == 4
    assert HOSTILE not in made
    assert "<b>" not in made


@pytest.mark.parametrize("body", ["{{ missing }}", "{% if missing %}{% endif %}", "{% for x in missing %}{% endfor %}"])
def test_a_missing_value_is_an_error(body: str) -> None:
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        filled(body, title="x")


def test_a_missing_part_of_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="no attribute 'missing'"):
        filled("{{ run.missing }}", title="x", run={"shape": "8"})


@pytest.mark.parametrize("template", PAGES)
def test_a_page_without_its_values_is_an_error(template: str) -> None:
    with pytest.raises(UndefinedError, match="is undefined"):
        render(template)


def test_a_page_without_a_body_is_an_error() -> None:
    with pytest.raises(TemplateRuntimeError, match="Required block"):
        environment().from_string('{% extends "frame.html" %}{% block title %}x{% endblock %}').render()


def test_a_picture_is_inside() -> None:
    made = filled('{{ picture(png, "dots") }}{{ enlarged(png, "pixels") }}', title="x", png=b"\x89PNG..")
    found = re.findall(r'<p><img class="(\w+)" alt="(\w+)" src="data:image/png;base64,([^"]*)"></p>', made)
    assert [(enlarged, alt) for enlarged, alt, _ in found] == [("plot", "dots"), ("pixels", "pixels")]
    assert {base64.b64decode(data) for _, _, data in found} == {b"\x89PNG.."}


def test_no_template_turns_escaping_off() -> None:
    assert {"frame.html", *PAGES} <= set(TEMPLATES)
    for name in TEMPLATES:
        source = (TOP / "flows/pages/templates" / name).read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup", source), name


def test_import_makes_no_environment_and_another_folder_finds_the_templates(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(TOP)!r})\n"
        "from flows.pages import page\n"
        "assert page.environment.cache_info().currsize == 0\n"
        "print(*page.environment().list_templates())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == TEMPLATES


def test_wheels_have_the_templates() -> None:
    """The package's data as pyproject.toml declares it are the files that the loader reads."""
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["flows.pages"]
    folder = Path(page.__file__).parent
    assert sorted(path.name for pattern in patterns for path in folder.glob(pattern)) == TEMPLATES
