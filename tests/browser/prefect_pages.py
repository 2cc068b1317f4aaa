"""Prefect's pages as a user meets them: fields by their titles, buttons by their words."""

import re

from playwright.sync_api import Locator, Page

# Titles of fields as a page shows them, one a line.
_TITLE = re.compile(r"^(.+) \(Optional\)$", re.MULTILINE)


def titles(page: Page) -> list[str]:
    """The titles of a form's fields and groups from top to bottom."""
    return _TITLE.findall(page.inner_text("body"))


def field(place: Page | Locator, title: str) -> Locator:
    """The first field, or group of fields, with this title."""
    label = place.locator(".schema-form-property__label").get_by_text(
        re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
    )
    return label.locator("xpath=ancestor::div[contains(concat(' ', @class, ' '), ' schema-form-property ')][1]").first


def fill(place: Page | Locator, title: str, value: str) -> None:
    """Type into a field."""
    field(place, title).locator("input, textarea").fill(value)


def choose(page: Page, select: Locator, option: str) -> None:
    """Choose from a list, by keyboard and mouse."""
    select.focus()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option").get_by_text(option, exact=True).click()
    page.keyboard.press("Escape")


def confirm(page: Page, button: str) -> None:
    """Press a button of a run's page, then the one of the question that follows."""
    page.get_by_role("button", name=button, exact=True).first.click()
    question = page.get_by_role("dialog")
    question.get_by_role("button", name=re.compile("^(Submit|Confirm)$")).last.click()
    question.wait_for(state="hidden")
