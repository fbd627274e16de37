"""The settings: it ..."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulier.config import SECRET_NAMES, Config
from haulier.domain.errors import ConfigError

URL = "postgresql://app:swordfish@db.example/app"


def config(**environ: object) -> Config:
    return Config.from_env({"DATABASE_URL": URL, **{name: str(value) for name, value in environ.items()}})


def refusal(**environ: object) -> str:
    with pytest.raises(ConfigError) as raised:
        config(**environ)
    message = str(raised.value)
    assert "\n" not in message
    assert "swordfish" not in message
    return message


def test_needs_only_the_database():
    settings = config()

    assert settings == Config(database_url=URL)


def test_has_the_defaults_that_fit_a_plan_of_twenty_connections():
    settings = config()

    web = settings.web_concurrency * settings.web_threads
    worker = settings.worker_processes * settings.worker_connections
    assert (web, worker) == (6, 5)
    assert settings.shutdown_seconds == 25
    assert settings.lease_seconds == 30
    assert settings.beat_seconds == 10


def test_counts_the_same_connections_for_any_number_of_worker_threads():
    assert config(WORKER_THREADS=500).worker_connections == config(WORKER_THREADS=1).worker_connections


def test_counts_the_connections_of_web_and_worker_together_with_one_for_each_processs_housekeeping():
    assert config().connections == 6 + 5 + 1
    assert config(WORKER_PROCESSES=3, WEB_THREADS=1).connections == 2 + 3 * (5 + 1)


def test_counts_a_connection_less_for_a_worker_without_wake_ups():
    assert config().worker_connections - config(WAKE_UPS="off").worker_connections == 1


def test_counts_an_empty_value_as_unset():
    settings = Config.from_env(
        {"DATABASE_URL": URL} | dict.fromkeys(("PORT", "WORKER_THREADS", "SMTP_URL", "AUTH"), " ")
    )

    assert settings == Config(database_url=URL)


@pytest.mark.parametrize("url", [None, "", "  "])
def test_says_so_in_one_line_where_the_database_is_missing(url):
    with pytest.raises(ConfigError) as raised:
        Config.from_env({} if url is None else {"DATABASE_URL": url})

    assert str(raised.value).startswith("DATABASE_URL is not set")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://app:swordfish@db/app", "app:swordfish@db", "host=db password=swordfish"])
def test_does_not_repeat_a_dsn_that_it_refuses(url):
    message = refusal(DATABASE_URL=url)

    assert message.startswith("DATABASE_URL")
    assert "postgres://" in message


@pytest.mark.parametrize(
    "url", ["postgres://u:p@h/d", "postgresql://u@h/d?sslmode=require", "postgresql://u@/d?host=%2Ftmp"]
)
def test_takes_every_form_of_dsn_that_platforms_give(url):
    assert config(DATABASE_URL=url).database_url == url


def test_keeps_secrets_out_of_its_own_description():
    settings = config(
        WEBHOOK_SECRET="whsec_swordfish",
        SMTP_URL="smtps://u:swordfish@mail",
        STORAGE_URL="s3://key:swordfish@bucket",
        HAULIER_API_KEY="swordfish" * 4,
        METRICS_TOKEN="swordfish" * 2,
    )

    assert "swordfish" not in repr(settings)
    assert "port=8080" in repr(settings)


NUMBERS = [
    ("WEB_CONCURRENCY", "web_concurrency", 1, 500),
    ("WEB_THREADS", "web_threads", 1, 500),
    ("WORKER_PROCESSES", "worker_processes", 1, 100),
    ("WORKER_THREADS", "worker_threads", 1, 500),
    ("WORKER_METRICS_PORT", "worker_metrics_port", 0, 65_535),
    ("PORT", "port", 1, 65_535),
    ("LEASE_SECONDS", "lease_seconds", 1, 3600),
    ("SHUTDOWN_SECONDS", "shutdown_seconds", 0, 3600),
    ("RETENTION_DAYS", "retention_days", 1, 1825),
    ("IDEMPOTENCY_DAYS", "idempotency_days", 1, 3650),
    ("DB_CONNECTION_LIMIT", "db_connection_limit", 6, 10_000),
]
WHOLE = [row for row in NUMBERS if row[0] not in ("LEASE_SECONDS", "SHUTDOWN_SECONDS")]


@pytest.mark.parametrize(("name", "field", "least", "most"), NUMBERS)
def test_takes_a_number_up_to_both_bounds_and_none_beyond(name, field, least, most):
    kept = [getattr(config(**{name: value}), field) for value in (least, most)]
    messages = [refusal(**{name: value}) for value in (least - 1, most + 1)]

    assert kept == [least, most]
    assert all(message.startswith(f"{name}=") for message in messages)
    assert all(f"from {least} to {most}" in message for message in messages)


@pytest.mark.parametrize(
    "value", ["many", "-5", "0x10", "1e2", "٣", "5 5", "nan", "inf", "9" * 400, "5\n6", "+7", "1_0"]
)
@pytest.mark.parametrize("name", ["WORKER_THREADS", "LEASE_SECONDS", "PORT"])
def test_says_in_one_line_which_setting_is_no_number(name, value):
    message = refusal(**{name: value})

    assert message.startswith(f"{name}=")
    assert "must be" in message


@pytest.mark.parametrize("name", [row[0] for row in WHOLE])
def test_refuses_a_fraction_of_what_is_counted(name):
    message = refusal(**{name: "4.5"})

    assert "whole number" in message


def test_takes_a_fraction_of_a_second():
    settings = config(LEASE_SECONDS="1.5", POLL_SECONDS="0.02", SHUTDOWN_SECONDS="0", STUCK_SECONDS="0.1")

    assert (settings.lease_seconds, settings.poll_seconds) == (1.5, 0.02)
    assert (settings.shutdown_seconds, settings.stuck_seconds) == (0, 0.1)


@pytest.mark.parametrize(("name", "value"), [("POLL_SECONDS", "0.01"), ("POLL_SECONDS", "61"), ("STUCK_SECONDS", "0")])
def test_bounds_fractions_too(name, value):
    assert refusal(**{name: value}).startswith(f"{name}=")


@pytest.mark.parametrize(
    ("name", "field", "given", "kept"),
    [
        ("LOG_FORMAT", "log_format", "JSON", "json"),
        ("LOG_LEVEL", "log_level", "debug", "DEBUG"),
        ("EXECUTOR", "executor", " Simulated ", "simulated"),
        ("AUTH", "auth", "OFF", "off"),
        ("WAKE_UPS", "wake_ups", "Off", "off"),
    ],
)
def test_takes_a_choice_in_any_case(name, field, given, kept):
    assert getattr(config(**{name: given}), field) == kept


@pytest.mark.parametrize("name", ["LOG_FORMAT", "LOG_LEVEL", "EXECUTOR", "AUTH", "WAKE_UPS"])
def test_names_the_choices_where_it_was_none_of_them(name):
    message = refusal(**{name: "pretty"})

    assert message.startswith(f"{name}='pretty': must be one of ")


@pytest.mark.parametrize(
    ("environ", "bound"),
    [
        ({}, ("127.0.0.1", 8080)),
        ({"PORT": "5000"}, ("0.0.0.0", 5000)),
        ({"API_BIND_ADDR": "127.0.0.1:8081"}, ("127.0.0.1", 8081)),
        ({"API_BIND_ADDR": "10.0.0.5:80", "PORT": "5000"}, ("10.0.0.5", 80)),
        ({"API_BIND_ADDR": "[::1]:8080"}, ("::1", 8080)),
        ({"API_BIND_ADDR": "localhost:65535"}, ("localhost", 65_535)),
    ],
)
def test_binds_where_it_is_told_to(environ, bound):
    settings = config(**environ)

    assert (settings.host, settings.port) == bound


@pytest.mark.parametrize(
    "address", ["8080", ":8080", "localhost", "localhost:", "localhost:0", "localhost:65536", "h:8o", "h:٣"]
)
def test_refuses_an_address_that_is_not_host_and_port(address):
    message = refusal(API_BIND_ADDR=address)

    assert message.startswith("API_BIND_ADDR=")
    assert "host:port" in message


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("127.example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_knows_whether_only_this_machine_reaches_it(host, loopback):
    assert replace(config(), host=host).is_loopback is loopback


@pytest.mark.parametrize(("limit", "web_threads"), [(6, 6), (7, 7), (30, 20), (None, 20)])
def test_a_connection_limit_reduces_the_threads_of_the_web_alone(limit, web_threads):
    settings = config(WEB_THREADS=20, **({} if limit is None else {"DB_CONNECTION_LIMIT": limit}))

    assert (settings.worker_threads, settings.web_threads) == (8, web_threads)
    # And one more for housekeeping.
    assert limit is None or settings.worker_connections + 1 <= limit


@pytest.mark.parametrize(
    ("limit", "asked", "processes", "reduced"),
    [
        (12, 2, 2, set()),
        (11, 2, 1, {"WORKER_PROCESSES"}),
        (17, 100, 2, {"WORKER_PROCESSES"}),
        (None, 100, 100, set()),
    ],
)
def test_a_connection_limit_is_shared_by_the_processes_of_a_worker(limit, asked, processes, reduced):
    settings = config(WORKER_PROCESSES=asked, **({} if limit is None else {"DB_CONNECTION_LIMIT": limit}))

    assert (settings.worker_processes, settings.worker_threads) == (processes, 8)
    assert set(settings.reduced) == reduced
    assert limit is None or processes * (settings.worker_connections + 1) <= limit


def test_a_connection_limit_reduces_what_was_asked_for_and_says_what():
    settings = config(DB_CONNECTION_LIMIT=6, WEB_THREADS=20, WORKER_PROCESSES=2)
    untouched = config(DB_CONNECTION_LIMIT=24, WEB_THREADS=20, WORKER_PROCESSES=2)

    assert (settings.worker_processes, settings.web_threads) == (1, 6)
    assert set(settings.reduced) == {"WORKER_PROCESSES", "WEB_THREADS"}
    assert untouched.reduced == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("", ()), ("*", ()), ("mail", ("mail",)), ("mail, image  bulk.2", ("mail", "image", "bulk.2"))],
)
def test_reads_the_queues_of_a_worker(given, kept):
    assert config(WORKER_QUEUES=given).worker_queues == kept


@pytest.mark.parametrize("given", ["Mail", "mail,*", "9mail", "m" * 65, "mail;drop", "größe"])
def test_refuses_what_is_not_a_queues_name(given):
    assert refusal(WORKER_QUEUES=given).startswith("WORKER_QUEUES: ")


def test_passes_on_the_settings_of_the_kinds():
    settings = config(
        SMTP_URL="smtp://mail",
        MAIL_FROM="a@b.c",
        STORAGE_URL="file:/data",
        WEBHOOK_SECRET="whsec_x",
        OUTBOUND_ALLOW_PRIVATE="10.0.0.0/8, hooks.internal",
        HAULIER_KINDS="kinds.a kinds.b",
    )

    assert (settings.smtp_url, settings.mail_from, settings.storage_url) == ("smtp://mail", "a@b.c", "file:/data")
    assert settings.webhook_secret == "whsec_x"
    assert settings.outbound_allow_private == ("10.0.0.0/8", "hooks.internal")
    assert settings.kinds == ("kinds.a", "kinds.b")


@pytest.mark.parametrize(("name", "ephemeral"), [("DYNO", True), ("RENDER", True), ("HOME", False)])
def test_knows_a_platform_whose_disk_vanishes(name, ephemeral):
    assert config(**{name: "x"}).ephemeral_disk is ephemeral


@pytest.mark.parametrize(
    "given", ["0123456789abcdef" * 2, "0123456789abcdef" * 4, "hlr_abcdefghijkl_" + "x" * 43, "!" * 255]
)
def test_takes_for_the_first_key_what_platforms_and_people_make(given):
    assert config(HAULIER_API_KEY=given).haulier_api_key == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HAULIER_API_KEY", "swordfish"),
        ("HAULIER_API_KEY", "swordfish" * 40),
        ("HAULIER_API_KEY", "swordfish swordfish swordfish swordfish"),
        ("HAULIER_API_KEY", "schwertfischö" * 4),
        ("METRICS_TOKEN", "swordfish"),
    ],
)
def test_refuses_a_secret_that_is_none_and_does_not_repeat_it(name, value):
    message = refusal(**{name: value})

    assert message.startswith(f"{name}: must be ")
    assert "fisch" not in message


@pytest.mark.parametrize("zone", ["Nowhere/None", "../etc/passwd", "Europe", "x" * 300])
def test_refuses_a_time_zone_that_is_none(zone):
    assert refusal(TIME_ZONE=zone).startswith("TIME_ZONE=")


@pytest.mark.parametrize(
    ("given", "fields"), [("IBAN, Card-Number", ("iban", "card_number")), ("none", ()), (" ", SECRET_NAMES)]
)
def test_takes_the_names_of_what_pages_hide(given, fields):
    assert config(HIDE_FIELDS=given).hide_fields == fields


def test_takes_a_time_zone_by_its_name():
    assert config(TIME_ZONE="Europe/Berlin").time_zone == "Europe/Berlin"
