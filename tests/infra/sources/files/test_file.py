"""A file that changed since it was found."""

from infra.sources.files.file import changed


def test_the_error_names_the_file_and_the_way_on() -> None:
    error = changed("/images/a.png")
    assert (error.item, error.exit_code, error.remedy) == ("/images/a.png", 6, "run again")
    assert "changed since it was listed" in str(error)
