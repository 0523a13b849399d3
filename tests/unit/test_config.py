import json
from dataclasses import dataclass, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattstream import config
from wattstream.config import ConfigError, setting


@dataclass(frozen=True)
class Sample:
    listen: str = setting("127.0.0.1:1", "where")
    batch_readings: int = setting(10, "how many", at_least=1)
    wait_s: float = setting(1.5, "how long", at_least=0)
    low_c: float = setting(-60.0, "how cold")
    mode: str = setting("register", "what to do", choices=("register", "reject"))
    eager: bool = setting(False, "whether")
    postgres_dsn: str = setting("", "the database", shared=True, secret=True)


def load(**environ: str) -> Sample:
    return config.load(Sample, "ingest", environ)


def test_what_is_not_set_has_its_default_and_other_programs_variables_are_left_alone() -> None:
    assert load(HOME="/x", PATH="y", WATT="1") == Sample()


def test_values_are_read_by_area_and_shared_ones_without() -> None:
    loaded = load(
        WATTSTREAM_INGEST_LISTEN="0.0.0.0:7",
        WATTSTREAM_INGEST_BATCH_READINGS="25",
        WATTSTREAM_INGEST_WAIT_S="0.25",
        WATTSTREAM_INGEST_LOW_C="-5",
        WATTSTREAM_INGEST_MODE="reject",
        WATTSTREAM_INGEST_EAGER="yes",
        WATTSTREAM_POSTGRES_DSN="host=db",
    )
    assert loaded == Sample("0.0.0.0:7", 25, 0.25, -5.0, "reject", True, "host=db")
    assert [type(getattr(loaded, field.name)) for field in fields(loaded)] == [str, int, float, float, str, bool, str]


@pytest.mark.parametrize(
    "name",
    [
        "WATTSTREAM_INGEST_LISTN",
        "WATTSTREAM_POSTGRES_DNS",
        "WATTSTREAM_LISTEN",
        "WATTSTREAM_INGEST_POSTGRES_DSN",
        "WATTSTREAM_",
    ],
)
def test_a_variable_that_nobody_knows_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: unknown") as raised:
        load(**{name: "secret-value"})
    assert "WATTSTREAM_INGEST_LISTEN" in str(raised.value)
    assert "secret-value" not in str(raised.value)


@pytest.mark.parametrize("name", ["WATTSTREAM_STATE_LISTEN", "WATTSTREAM_REDIS_URL", "WATTSTREAM_ANALYTICS_X"])
def test_the_variables_of_other_services_are_theirs_to_judge(name: str) -> None:
    assert load(**{name: "anything"}) == Sample()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("BATCH_READINGS", "many", "'many' is not of type int"),
        ("BATCH_READINGS", "1.5", "'1.5' is not of type int"),
        ("BATCH_READINGS", "", "'' is not of type int"),
        ("BATCH_READINGS", "0", "0 is too small; the least is 1"),
        ("WAIT_S", "soon", "'soon' is not of type float"),
        ("WAIT_S", "-0.1", "-0.1 is too small"),
        ("WAIT_S", "nan", "not a finite number"),
        ("LOW_C", "-inf", "not a finite number"),
        ("LOW_C", "nan", "not a finite number"),
        ("MODE", "ignore", "'ignore' is not one of register, reject"),
        ("EAGER", "perhaps", "'perhaps' is not of type bool"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_and_reason(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**{f"WATTSTREAM_INGEST_{name}": text})
    assert str(raised.value).startswith(f"WATTSTREAM_INGEST_{name}: ")
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"), [("TRUE", True), ("1", True), ("no", False), ("False", False), ("0", False)]
)
def test_switches_are_read_as_people_write_them(text: str, value: bool) -> None:
    assert load(WATTSTREAM_INGEST_EAGER=text).eager is value


def test_what_is_described_can_be_loaded_again() -> None:
    original = Sample(batch_readings=7, mode="reject", eager=True, wait_s=0.1)
    described = json.loads(config.describe(original, "ingest"))
    assert config.load(Sample, "ingest", {name: str(value) for name, value in described.items()}) == original


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("", ""),
        ("postgresql://127.0.0.1/db", "postgresql://127.0.0.1/db"),
        ("postgresql://me@h:5432/db", "postgresql://me@h:5432/db"),
        ("postgresql://me:pw@h:5432/db", "postgresql://me:***@h:5432/db"),
        ("postgresql://me:pw@h1:1,h2:2/db?password=pw&sslmode=require", "postgresql://me:***@h1:1,h2:2/db?***"),
        ("postgresql://me:p@w/x@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:p?w@h/db", "postgresql://***"),
        ("https://h:8443/token?key=pw", "https://h:8443/***"),
        ("https://h", "https://h"),
        ("https://h?key=pw", "https://***"),
        ("http://me:pw@h/token", "http://***"),
        ("http://h/token@x", "http://***"),
        ("postgresql:///db?host=/run&password=pw", "postgresql:///db?***"),
        ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
        ("rediss://me:pw@[::1]:6379", "rediss://me:***@[::1]:6379"),
        ("host=h password=pw", "***"),
        ("password=a://b host=h", "***"),
        ("password='a b' host=h", "***"),
    ],
)
def test_secrets_are_masked_and_addresses_are_not(secret: str, shown: str) -> None:
    assert json.loads(config.describe(Sample(postgres_dsn=secret), "ingest"))["WATTSTREAM_POSTGRES_DSN"] == shown


@given(
    st.text(min_size=1).map(lambda text: f"<{text}>"),
    st.sampled_from(
        [
            "postgresql://me:{}@h/db",
            "redis://:{}@h:1/0",
            "postgresql://h/db?password={}",
            "postgresql://me@h/db?user=x&password={}",
            "host=h password={}",
            "password='{}' host=h",
        ]
    ),
)
def test_no_password_is_ever_shown(password: str, form: str) -> None:
    described = json.loads(config.describe(Sample(postgres_dsn=form.format(password)), "ingest"))
    shown = described["WATTSTREAM_POSTGRES_DSN"]
    assert password not in shown
    assert "<" not in shown
    assert ">" not in shown


def test_help_names_every_variable_with_its_purpose_and_default() -> None:
    text = config.explain(Sample, "ingest")
    assert "WATTSTREAM_INGEST_BATCH_READINGS: how many (default: 10)" in text
    assert len(text.splitlines()) == len(fields(Sample))
