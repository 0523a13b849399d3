import json
import subprocess
import sys


def logged(program: str) -> list[dict[str, object]]:
    """Run a program that logs, and return its lines; each must be one JSON object."""
    prelude = "import logging, structlog\nfrom wattstream import logs\n"
    done = subprocess.run([sys.executable, "-c", prelude + program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_ours_and_the_libraries_lines_have_one_form() -> None:
    ours, theirs = logged(
        "logs.configure('state', 'info')\n"
        "logs.get().info('called', seconds=0.5)\n"
        "logging.getLogger('lib').warning('it is %s', 'late')\n"
    )
    assert ours["event"] == "called"
    assert ours["seconds"] == 0.5
    assert theirs["event"] == "it is late"
    for line in (ours, theirs):
        assert line["service"] == "state"
        assert {"level", "timestamp"} <= line.keys()


def test_the_level_is_kept_and_libraries_are_heard_from_warning_on() -> None:
    lines = logged(
        "logs.configure('state', 'info')\n"
        "logs.get().debug('no')\n"
        "logs.get().info('yes')\n"
        "logging.getLogger('lib').info('no')\n"
        "logging.getLogger('lib').error('yes')\n"
    )
    assert [line["event"] for line in lines] == ["yes", "yes"]


def test_stacks_and_line_breaks_stay_within_one_line() -> None:
    ours, theirs = logged(
        "logs.configure('state', 'warning')\n"
        "for name in ('a', 'b'):\n"
        "    try:\n"
        "        raise ValueError('first\\nsecond')\n"
        "    except ValueError:\n"
        "        logs.get().exception('failed') if name == 'a' else logging.exception('failed')\n"
    )
    for line in (ours, theirs):
        assert line["event"] == "failed"
        assert "ValueError: first\nsecond" in str(line["exception"])


def test_a_logger_taken_before_the_configuration_follows_it() -> None:
    (line,) = logged("log = logs.get()\nlogs.configure('state', 'info')\nlog.info('later')\n")
    assert (line["event"], line["service"]) == ("later", "state")
