"""The page about settings says what the program does."""

from pathlib import Path

from broker.options import Options, read_options, settings_file

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_page_shows_every_setting_with_its_default() -> None:
    """docs/settings.md holds exactly what `hoofbeat settings` prints."""
    assert PAGE.read_text().split("```toml\n")[1].split("```")[0] == settings_file()


def test_the_printed_file_can_be_used_as_it_is() -> None:
    """Running with the file that `hoofbeat settings` wrote is running with the defaults."""
    assert read_options(settings_file(), "hoofbeat.toml") == Options()
