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
    """Return the one line by which these settings are refused; it shows no secret."""
    with pytest.raises(ConfigError) as raised:
        config(**environ)
    message = str(raised.value)
    assert "\n" not in message
    assert "swordfish" not in message
    return message


WHOLE = ["WEB_CONCURRENCY", "WORKER_PROCESSES", "WORKER_METRICS_PORT", "PORT", "RETENTION_DAYS", "DB_CONNECTION_LIMIT"]


def test_needs_only_the_database():
    assert config() == Config(database_url=URL)


def test_has_defaults_that_fit_a_plan_of_twenty_connections():
    settings = config()

    web = settings.web_concurrency * settings.web_threads
    worker = settings.worker_processes * settings.worker_connections
    assert (web, worker) == (6, 5)
    assert settings.shutdown_seconds == 25
    assert settings.lease_seconds == 30
    assert settings.beat_seconds == 10


def test_counts_the_connections_of_web_and_worker_with_one_for_each_housekeeping():
    assert config().connections == 6 + 5 + 1
    assert config(WORKER_PROCESSES=3, WEB_THREADS=1).connections == 2 + 3 * (5 + 1)
    # Whatever the number of a worker's threads, and one less without wake-ups.
    assert config(WORKER_THREADS=500).worker_connections == config(WORKER_THREADS=1).worker_connections == 5
    assert config(WAKE_UPS="off").worker_connections == 4
    # Each thread keeps one of its ORM's.
    orm = config(WORKER_THREADS=7, WORKER_PROCESSES=2, HAULIER_MIDDLEWARE="haulier.contrib.django.worker:connections")
    assert orm.connections == 6 + 2 * (5 + 7 + 1)


def test_counts_an_empty_value_as_unset():
    empty = dict.fromkeys(("PORT", "WORKER_THREADS", "SMTP_URL", "AUTH"), " ")

    assert Config.from_env({"DATABASE_URL": URL, **empty}) == Config(database_url=URL)


def test_says_in_one_line_that_the_database_is_missing():
    for environ in ({}, {"DATABASE_URL": ""}, {"DATABASE_URL": "  "}):
        with pytest.raises(ConfigError) as raised:
            Config.from_env(environ)

        assert str(raised.value).startswith("DATABASE_URL is not set")
        assert "\n" not in str(raised.value)


def test_takes_only_a_dsn_in_url_form_and_repeats_none_that_it_refuses():
    taken = ["postgres://u:p@h/d", "postgresql://u@h/d?sslmode=require", "postgresql://u@/d?host=%2Ftmp"]
    refused = ["mysql://app:swordfish@db/app", "app:swordfish@db", "host=db password=swordfish"]

    assert [config(DATABASE_URL=url).database_url for url in taken] == taken
    for url in refused:
        message = refusal(DATABASE_URL=url)

        assert message.startswith("DATABASE_URL")
        assert "postgres://" in message


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


def test_says_in_one_line_which_setting_is_no_number():
    values = ["many", "-5", "0x10", "1e2", "٣", "5 5", "nan", "inf", "9" * 400, "5\n6", "+7", "1_0"]

    for name in ("WORKER_THREADS", "LEASE_SECONDS", "PORT"):
        messages = [refusal(**{name: value}) for value in values]
        assert [each for each in messages if not each.startswith(f"{name}=") or "must be" not in each] == []
    assert [name for name in WHOLE if "whole number" not in refusal(**{name: "4.5"})] == []


def test_takes_a_fraction_of_a_second():
    settings = config(LEASE_SECONDS="1.5", POLL_SECONDS="0.02", SHUTDOWN_SECONDS="0", STUCK_SECONDS="0.1")

    assert (settings.lease_seconds, settings.poll_seconds) == (1.5, 0.02)
    assert (settings.shutdown_seconds, settings.stuck_seconds) == (0, 0.1)
    for name, value in (("POLL_SECONDS", "0.01"), ("POLL_SECONDS", "61"), ("STUCK_SECONDS", "0")):
        assert refusal(**{name: value}).startswith(f"{name}=")


def test_takes_a_choice_in_any_case_and_names_the_choices_otherwise():
    choices = {
        "LOG_FORMAT": ("JSON", "log_format", "json"),
        "LOG_LEVEL": ("debug", "log_level", "DEBUG"),
        "EXECUTOR": (" Simulated ", "executor", "simulated"),
        "AUTH": ("OFF", "auth", "off"),
        "WAKE_UPS": ("Off", "wake_ups", "off"),
    }

    for name, (value, field, kept) in choices.items():
        assert getattr(config(**{name: value}), field) == kept
        assert refusal(**{name: "pretty"}).startswith(f"{name}='pretty': must be one of ")


def test_binds_to_its_address_or_to_the_port_of_the_platform():
    bound: list[tuple[dict[str, str], tuple[str, int]]] = [
        ({}, ("127.0.0.1", 8080)),
        ({"PORT": "5000"}, ("0.0.0.0", 5000)),
        ({"API_BIND_ADDR": "127.0.0.1:8081"}, ("127.0.0.1", 8081)),
        ({"API_BIND_ADDR": "10.0.0.5:80", "PORT": "5000"}, ("10.0.0.5", 80)),
        ({"API_BIND_ADDR": "[::1]:8080"}, ("::1", 8080)),
        ({"API_BIND_ADDR": "localhost:65535"}, ("localhost", 65_535)),
    ]

    assert [(environ, (config(**environ).host, config(**environ).port)) for environ, _ in bound] == bound
    for address in ("8080", ":8080", "localhost", "localhost:", "localhost:0", "localhost:65536", "h:8o", "h:٣"):
        message = refusal(API_BIND_ADDR=address)

        assert message.startswith("API_BIND_ADDR=")
        assert "host:port" in message


def test_knows_whether_only_this_machine_reaches_it():
    local = ["127.0.0.1", "127.1.2.3", "localhost", "::1"]
    public = ["0.0.0.0", "::", "127.example.com", "localhost.example.com"]

    assert [host for host in [*local, *public] if replace(config(), host=host).is_loopback] == local


def test_a_connection_limit_reduces_only_the_threads_of_the_web_and_says_so():
    for limit, web_threads in ((6, 6), (7, 7), (30, 20), (None, 20)):
        settings = config(WEB_THREADS=20, **({} if limit is None else {"DB_CONNECTION_LIMIT": limit}))

        assert (settings.worker_threads, settings.web_threads) == (8, web_threads)
        assert set(settings.reduced) == ({"WEB_THREADS"} if web_threads < 20 else set())
        # One more for housekeeping.
        assert limit is None or settings.worker_connections + 1 <= limit


def test_the_processes_of_a_worker_share_a_connection_limit():
    for limit, wanted, processes in ((12, 2, 2), (11, 2, 1), (17, 100, 2), (None, 100, 100)):
        settings = config(WORKER_PROCESSES=wanted, **({} if limit is None else {"DB_CONNECTION_LIMIT": limit}))

        assert (settings.worker_processes, settings.worker_threads) == (processes, 8)
        assert set(settings.reduced) == ({"WORKER_PROCESSES"} if processes < wanted else set())
        assert limit is None or processes * (settings.worker_connections + 1) <= limit


def test_reads_the_queues_of_a_worker():
    queues = {"": (), "*": (), "mail": ("mail",), "mail, image  bulk.2": ("mail", "image", "bulk.2")}
    invalid = ["Mail", "mail,*", "9mail", "m" * 65, "mail;drop", "größe"]

    assert {value: config(WORKER_QUEUES=value).worker_queues for value in queues} == queues
    assert [name for name in invalid if not refusal(WORKER_QUEUES=name).startswith("WORKER_QUEUES: ")] == []


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


def test_knows_a_platform_whose_disk_vanishes():
    assert [name for name in ("DYNO", "RENDER", "HOME") if config(**{name: "x"}).ephemeral_disk] == ["DYNO", "RENDER"]


def test_takes_for_the_first_key_what_platforms_and_people_make():
    keys = ["0123456789abcdef" * 2, "0123456789abcdef" * 4, "hlr_abcdefghijkl_" + "x" * 43, "!" * 255]

    assert [config(HAULIER_API_KEY=key).haulier_api_key for key in keys] == keys


def test_refuses_a_weak_secret_and_does_not_repeat_it():
    weak = [
        ("HAULIER_API_KEY", "swordfish"),
        ("HAULIER_API_KEY", "swordfish" * 40),
        ("HAULIER_API_KEY", "swordfish swordfish swordfish swordfish"),
        ("HAULIER_API_KEY", "schwertfischö" * 4),
        ("METRICS_TOKEN", "swordfish"),
    ]

    for name, value in weak:
        message = refusal(**{name: value})

        assert message.startswith(f"{name}: must be ")
        assert "fisch" not in message


def test_takes_a_short_name_of_a_release():
    assert [config(RELEASE=name).release for name in ("shop 7", "x\udcff" * 99, " ")] == ["shop 7", "x?" * 50, None]


def test_takes_only_a_time_zone_that_exists():
    unknown = ["Nowhere/None", "../etc/passwd", "Europe", "x" * 300]

    assert config(TIME_ZONE="Europe/Berlin").time_zone == "Europe/Berlin"
    assert [zone for zone in unknown if not refusal(TIME_ZONE=zone).startswith("TIME_ZONE=")] == []


def test_takes_the_names_of_fields_that_pages_hide():
    names = {"IBAN, Card-Number": ("iban", "card_number"), "none": (), " ": SECRET_NAMES}

    assert {value: config(HIDE_FIELDS=value).hide_fields for value in names} == names
