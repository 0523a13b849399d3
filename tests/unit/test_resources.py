import pytest

from wattstream import resources


def test_a_file_beside_the_code_is_read_as_text() -> None:
    assert "devices" in resources.read("wattstream.migrations", "0001_fleet.sql")


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        resources.read("wattstream.migrations", "9999_nothing.sql")
