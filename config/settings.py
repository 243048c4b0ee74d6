"""Settings, read top to bottom. Every value comes from the environment (or `.env`) with its default beside it.

`.env.example` lists them in the same order. Secrets that `make setup` generates live under PORTAL_DATA_DIR with
mode 0600 and are read here when the environment does not name them.
"""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from csp.constants import NONE as CSP_NONE
from csp.constants import SELF as CSP_SELF
from django.core.exceptions import ImproperlyConfigured

from launcher import embedded

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")


YES = ("true", "yes", "on", "1", "y", "t", "ok")
NO = ("false", "no", "off", "0", "n", "f")
DATABASES_SPOKEN = ("postgres", "postgresql", "psql", "pgsql", "sqlite")


# Whatever is wrong is one sentence that names the setting (manage.py prints it), and never repeats its value.
def _number(name: str, default: int, *, least: int = 1, most: int = 1_000_000) -> int:
    """The setting as a whole number within these bounds, which keep sums of times from running over."""
    try:
        number = int(env(name, default="") or default)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be a whole number from {least} to {most}.")
    return number


def _switch(name: str) -> bool:
    """The setting as yes or no; no when it is not set."""
    word = env(name, default="").strip().lower()
    if word not in ("", *YES, *NO):
        raise ImproperlyConfigured(f"{name} must be true or false.")
    return word in YES


def _time_zone(name: str) -> str:
    """The setting as the name of a time zone."""
    try:
        return ZoneInfo(env(name, default="") or "UTC").key
    except (KeyError, ValueError, OSError):
        raise ImproperlyConfigured(f"{name} must be the name of a time zone, such as Europe/London.") from None


def _database(name: str) -> dict[str, Any]:
    """The setting as a database that the portal can use."""
    database: dict[str, Any] = {}
    # What env.db() does not know it prints, with the password.
    if env(name).partition("://")[0] in DATABASES_SPOKEN:
        with suppress(ValueError):
            database = env.db(name)
    if not database.get("NAME"):
        raise ImproperlyConfigured(f"{name} must look like postgres://user:password@host:5432/name.")
    return database


# Where the embedded parts (SQLite, Valkey, keys) keep their data.
PORTAL_DATA_DIR = Path(env("PORTAL_DATA_DIR", default=str(BASE_DIR / "var"))).absolute()


def _secret_file(name: str) -> str:
    """The content of a generated secret, or "" before `make setup` has run (vault.checks then says what to do)."""
    try:
        return (PORTAL_DATA_DIR / name).read_text(encoding="utf-8").strip()
    except OSError:
        # A missing or unreadable file gets one clear line from the commands' own checks, not a traceback here.
        return ""


SECRET_KEY_NOT_SET = "not-set-run-make-setup"  # noqa: S105 - vault.checks refuses it
SECRET_KEY = env("SECRET_KEY", default="") or _secret_file("secret_key") or SECRET_KEY_NOT_SET
DEBUG = _switch("DEBUG")
# This machine itself may always: the supervisor asks whether the pages answer.
ALLOWED_HOSTS = list(dict.fromkeys([*env.list("ALLOWED_HOSTS", default=[]), "localhost", "127.0.0.1", "[::1]"]))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# A portal with an https:// address never gives its cookies to plain http. Without one there is only loopback.
HTTPS = any(origin.startswith("https:") for origin in CSRF_TRUSTED_ORIGINS)
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# How long browsers shall refuse plain http for the portal's name; 0 leaves it to the web server in front.
SECURE_HSTS_SECONDS = _number("SECURE_HSTS_SECONDS", 0, least=0, most=100_000_000)
# Only behind a proxy that sets or removes this header itself: else anybody may claim to come over HTTPS.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _switch("TRUST_PROXY_HEADER") else None

# Newest first: the first key writes, all of them read. See `manage.py rotate_keys`.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=_secret_file("field_encryption_keys").split())

INSTALLED_APPS = [
    "vault",
    "moodle_sync",
    "badging",
    "badging.pages",
    "launcher",
    "config.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# The embedded database's path is not written as a URL: it may hold blanks and percent signs.
DATABASES: dict[str, dict[str, Any]] = {
    "default": _database("DATABASE_URL")
    if env("DATABASE_URL", default="")
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(PORTAL_DATA_DIR / "portal.sqlite3")}
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Web, worker and beat share the file: writers queue for up to 20 s instead of failing, readers never wait.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
    # PostgreSQL's default cost of a page is for turning disks. On any other it has lists read a whole table backwards,
    # where an index knows the few rows: a course's newest badges among a million (benchmarks/load.py). The time-outs
    # are for a host that is gone or stands still: the rows that it had locked are free again within a minute or two,
    # not in hours, and whoever waits for an answer of a lost server is told so. What the URL says wins; `options` in it
    # takes the place of all of the server's.
    server = {
        "random_page_cost": "1.1",
        "idle_in_transaction_session_timeout": "60s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "60s",
    }
    DATABASES["default"]["OPTIONS"] = {
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    } | DATABASES["default"].get("OPTIONS", {})

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-gb"
# Every text is marked for translation; a language is offered when its translation is there.
LANGUAGES = [("en-gb", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
# Times are shown with their zone.
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = _time_zone("TIME_ZONE")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = PORTAL_DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# To standard error, whatever DEBUG says; the supervisor passes it on. Tracebacks come without the words of exceptions.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "NOTSET", "propagate": True},
        # The development server's lines hold query strings, and so what people search for.
        "django.server": {"handlers": [], "level": "CRITICAL", "propagate": True},
    },
}

# Celery carries the news only; the database is the queue's truth. A lost message costs seconds.
CELERY_BROKER_URL = env("CELERY_BROKER_URL", default="")
EMBEDDED_BROKER = not CELERY_BROKER_URL
if EMBEDDED_BROKER:
    CELERY_BROKER_URL = embedded.broker_url(PORTAL_DATA_DIR)
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# However long the broker is away, workers and beat come back to it by themselves; a page waits for it 2 s at most,
# and 5 s for one that takes the connection and says nothing.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5, "max_retries": 0}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# Navigatr's official addresses; a test server may stand in for them. A data folder that has been used for the demo
# stays with its sandbox, so that its pretend learners and tokens never meet the real Navigatr.
SANDBOX_URL = _secret_file("sandbox_url")
NAVIGATR_URLS = {
    "production": env(
        "NAVIGATR_PRODUCTION_URL",
        default=f"{SANDBOX_URL}/navigatr-production/v1" if SANDBOX_URL else "https://api.navigatr.app/v1",
    ),
    "staging": env(
        "NAVIGATR_STAGING_URL",
        default=f"{SANDBOX_URL}/navigatr/v1" if SANDBOX_URL else "https://stagapi.navigatr.app/v1",
    ),
}

# Pages load nothing from elsewhere but the badges' pictures. A test server on plain http may serve those as well.
PICTURE_HOSTS = sorted({f"http://{urlsplit(url).netloc}" for url in NAVIGATR_URLS.values() if url.startswith("http:")})
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [CSP_NONE],
        "script-src": [CSP_SELF],
        "style-src": [CSP_SELF],
        "font-src": [CSP_SELF],
        "connect-src": [CSP_SELF],
        "img-src": [CSP_SELF, "https:", "data:", *PICTURE_HOSTS],
        "form-action": [CSP_SELF],
        "base-uri": [CSP_NONE],
        "frame-ancestors": [CSP_NONE],
    }
}

# How long a failed issuance waits before it is tried again: 60 s × 4^(n-1), at most a day, given up after a week.
RETRY_FIRST = timedelta(seconds=_number("RETRY_FIRST_SECONDS", 60))
RETRY_FACTOR = _number("RETRY_FACTOR", 4)
RETRY_LONGEST = timedelta(seconds=_number("RETRY_LONGEST_SECONDS", 86400))
RETRY_GIVE_UP = timedelta(days=_number("RETRY_GIVE_UP_DAYS", 7))
# How long a worker may go on without a sign of life; one time-out later others take over what it holds.
LEASE = timedelta(seconds=_number("LEASE_SECONDS", 300))
# After so many failed calls in a row a connection rests: 30 s, doubling with each failed probe up to 10 minutes.
CIRCUIT_THRESHOLD = _number("CIRCUIT_THRESHOLD", 10)
CIRCUIT_FIRST_PAUSE = timedelta(seconds=_number("CIRCUIT_FIRST_PAUSE_SECONDS", 30))
CIRCUIT_LONGEST_PAUSE = timedelta(seconds=_number("CIRCUIT_LONGEST_PAUSE_SECONDS", 600))
# How many calls at once go to one Navigatr connection, and how many issuances a worker takes in hand.
SEND_THREADS = _number("SEND_THREADS", 64)
SEND_BATCH = _number("SEND_BATCH", 500)
# How many Moodle sites are polled at once by a worker, and how many slow or failing ones besides.
POLLS_AT_ONCE = _number("POLLS_AT_ONCE", 32, most=1000)
POLLS_WAITING = _number("POLLS_WAITING", 64, most=1000)
# The most calls that one polling round makes to a Moodle without the report.
MOODLE_CALLS_PER_ROUND = _number("MOODLE_CALLS_PER_ROUND", 1000)
MOODLE_TIMEOUT = _number("MOODLE_TIMEOUT_SECONDS", 30)
