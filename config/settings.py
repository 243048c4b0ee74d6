"""Django settings. Values come from the environment or `.env`; `.env.example` lists them in the same order.

Secrets that the environment does not set are read from files in PORTAL_DATA_DIR, which `make setup` creates with mode
0600.
"""

from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from csp.constants import NONCE as CSP_NONCE
from csp.constants import NONE as CSP_NONE
from csp.constants import SELF as CSP_SELF
from csp.constants import STRICT_DYNAMIC as CSP_STRICT_DYNAMIC
from csp.constants import UNSAFE_EVAL as CSP_UNSAFE_EVAL
from csp.constants import UNSAFE_INLINE as CSP_UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy

from launcher import embedded
from outbound_http import HostRule

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

# What switches accept, in any case.
YES = ("true", "yes", "on", "1", "y", "t", "ok")
NO = ("false", "no", "off", "0", "n", "f")
# The supported schemes of DATABASE_URL.
DATABASE_SCHEMES = ("postgres", "postgresql", "psql", "pgsql", "sqlite")

# The supported schemes of EMAIL_URL.
MAIL_SCHEMES = ("smtp", "smtp+tls", "smtp+ssl")
# Where the identity provider of a test may answer without TLS.
LOOPBACK = ("http://127.0.0.1:", "http://localhost:")


# Each of the following raises ImproperlyConfigured for a wrong value. manage.py prints the message, which names the
# setting and does not repeat the value, because that may be a secret.
def _number(name: str, default: int, *, least: int = 1, most: int = 1_000_000) -> int:
    """The setting as a whole number. The upper limit keeps sums of dates and times from overflowing."""
    try:
        number = int(env(name, default="") or default)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be a whole number from {least} to {most}.")
    return number


def _switch(name: str) -> bool:
    """The setting as a boolean; False if it is not set."""
    word = env(name, default="").strip().lower()
    if word not in ("", *YES, *NO):
        raise ImproperlyConfigured(f"{name} must be true or false.")
    return word in YES


def _address(name: str, default: str) -> str:
    """The setting as an IP address."""
    try:
        return str(ip_address(env(name, default="").strip("[] ") or default))
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::.") from None


def _networks(name: str, default: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The setting as IP addresses and networks."""
    try:
        return tuple(ip_network(part.strip()) for part in env.list(name, default=default) or default)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be IP addresses or networks with commas between them, such as 10.0.0.5,192.168.1.0/24."
        ) from None


def _time_zone(name: str) -> str:
    """The setting as the name of a time zone."""
    try:
        return ZoneInfo(env(name, default="") or "UTC").key
    except (KeyError, ValueError, OSError):
        raise ImproperlyConfigured(f"{name} must be the name of a time zone, such as Europe/London.") from None


def _hosts(name: str) -> list[str]:
    """The setting as a list of host names, patterns, addresses and networks."""
    entries = [entry.strip() for entry in env.list(name, default=[]) if entry.strip()]
    try:
        HostRule(entries)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be names such as moodle.example.org or *.example.org, or networks such as 10.1.0.0/16, with "
            "commas between them."
        ) from None
    return entries


def _database(name: str) -> dict[str, Any]:
    """The setting as a supported database."""
    database: dict[str, Any] = {}
    # env.db() would print a URL with an unknown scheme, and so its password.
    if env(name).partition("://")[0] in DATABASE_SCHEMES:
        with suppress(ValueError):
            database = env.db(name)
    if not database.get("NAME"):
        raise ImproperlyConfigured(f"{name} must look like postgres://user:password@host:5432/name.")
    return database


def _mail(name: str) -> dict[str, Any]:
    """The setting as Django's settings of a mail server; one that sends nothing if it is not set."""
    url = env(name, default="")
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    mail: dict[str, Any] = {}
    # env.email_url() would print a URL with an unknown scheme, and so its password.
    if url.partition("://")[0] in MAIL_SCHEMES:
        with suppress(ValueError):
            mail = env.email_url(name)
    if not mail.get("EMAIL_HOST"):
        raise ImproperlyConfigured(f"{name} must look like smtp+tls://user:password@mail.example.org:587.")
    return mail


def _provider_address(name: str) -> str:
    """The setting as an https:// address, or plain http on loopback; "" if it is not set."""
    url = str(env(name, default="")).rstrip("/")
    parts = urlsplit(url)
    if url and not (parts.hostname and (parts.scheme == "https" or url.startswith(LOOPBACK))):
        raise ImproperlyConfigured(f"{name} must be an https:// address.")
    return url


def _pairs(name: str) -> dict[str, str]:
    """The setting as pairs: `value=name; other value=other name`. Values may hold commas and equals signs."""
    pairs = [part.rpartition("=") for part in env(name, default="").split(";") if part.strip()]
    if not all(value.strip() and group.strip() for value, _equals, group in pairs):
        raise ImproperlyConfigured(f"{name} must look like “value=Site admins; other=Data protection officers”.")
    return {value.strip(): group.strip() for value, _equals, group in pairs}


# The folder for SQLite, Valkey, keys and static files.
PORTAL_DATA_DIR = Path(env("PORTAL_DATA_DIR", default=str(BASE_DIR / "var"))).absolute()


def _data_file(name: str) -> str:
    """The content of a file in the data folder, or "" if there is none."""
    try:
        return (PORTAL_DATA_DIR / name).read_text(encoding="utf-8").strip()
    except OSError:
        # vault.checks and launcher.preflight say what to do.
        return ""


# Keeps Django working without a key, so that `setup_portal` can create one.
SECRET_KEY_NOT_SET = "not-set-run-make-setup"  # noqa: S105 - vault.checks refuses it
# The first line of the file is the key, further lines are old keys: what they have signed stays valid.
_secret_keys = [key] if (key := env("SECRET_KEY", default="")) else _data_file("secret_key").split()
SECRET_KEY = _secret_keys[0] if _secret_keys else SECRET_KEY_NOT_SET
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=_secret_keys[1:])
DEBUG = _switch("DEBUG")
# Where `manage.py portal` listens for the pages. Only on this host, unless something else is set.
BIND_ADDRESS = _address("BIND_ADDRESS", "127.0.0.1")
PORT = _number("PORT", 8000, most=65534)
# Always allowed, because the launcher waits there until the pages answer.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
ALLOWED_HOSTS = list(dict.fromkeys([*env.list("ALLOWED_HOSTS", default=[]), *LOOPBACK_HOSTS]))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# X-Forwarded-For and X-Forwarded-Proto count when they come from one of these addresses, and else never: a browser
# could claim another address, or to use HTTPS. See `config.proxies`.
TRUSTED_PROXIES = _networks("TRUSTED_PROXIES", ["127.0.0.0/8", "::1"]) if _switch("TRUST_PROXY_HEADER") else ()
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
# The address that people open, if it is an https:// one. Without one the portal is used on loopback.
PUBLIC_URL = next((origin for origin in CSRF_TRUSTED_ORIGINS if origin.startswith("https:")), "")
HTTPS = bool(PUBLIC_URL)
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# Without a proxy that says what the browser used, every request looks like plain HTTP and would be redirected for ever.
SECURE_SSL_REDIRECT = HTTPS and bool(TRUSTED_PROXIES)
# For how long browsers refuse plain HTTP for the portal's host name; 0 means that no header is sent. 30 days, because
# browsers cannot be told to forget a longer time.
SECURE_HSTS_SECONDS = _number("SECURE_HSTS_SECONDS", 2_592_000 if HTTPS else 0, least=0, most=100_000_000)
# These checks ask for HSTS on subdomains and for the browsers' preload list. Both bind more than the portal's own name.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# The portal takes forms and no files. `launcher.web` refuses larger bodies before they are read.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
DATA_UPLOAD_MAX_NUMBER_FILES = 0

# Newest first: the first key encrypts, all of them decrypt. See `manage.py rotate_keys`.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=_data_file("field_encryption_keys").split())
# Newest first, none ever removed: they make the digests of addresses. See vault/digests.py.
DIGEST_KEYS = env.list("DIGEST_KEYS", default=_data_file("digest_keys").split())

INSTALLED_APPS = [
    "vault",
    "moodle_sync",
    "badging",
    "badging.pages",
    "launcher",
    # Before the admin, whose templates it replaces.
    "unfold.apps.BasicAppConfig",
    "config.apps.PortalAdminConfig",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "axes",
    "django.contrib.auth",
    # After both, whose pages it takes out of the admin.
    "people",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "simple_history",
    "csp",
]

MIDDLEWARE = [
    # First, because all others see what it leaves.
    "config.proxies.ForwardingMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.headers.PrivateHeaders",
    "config.headers.ContentSecurityPolicy",
    "config.proxies.PlainPathMiddleware",
    "people.middleware.SignInQueue",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "people.acting.ActingMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "people.sessions.SessionLimits",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "people.middleware.SecondFactor",
    "people.middleware.KnownBrowser",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "libraries": {"portal_menu": "config.menu_tags"},
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# The default is no URL, because the path may have blanks and percent signs.
DATABASES: dict[str, dict[str, Any]] = {
    "default": _database("DATABASE_URL")
    if env("DATABASE_URL", default="")
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(PORTAL_DATA_DIR / "portal.sqlite3")}
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Web, worker and beat share the file. A writer waits up to 20 s for another one; readers never wait.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        # secure_delete overwrites deleted rows with zeros: SQLite would leave them in the file.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
    # Options of the server. The default random_page_cost suits hard disks and makes the planner prefer backward
    # sequential scans for lists (benchmarks/load.py). The time-outs free the rows that a lost client had locked after
    # one or two minutes instead of hours.
    server_options = {
        "random_page_cost": "1.1",
        "idle_in_transaction_session_timeout": "60s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "60s",
    }
    # The other options make the client notice a lost server. Options in DATABASE_URL win; an `options` there replaces
    # all options of the server.
    DATABASES["default"]["OPTIONS"] = {
        "options": " ".join(f"-c {name}={value}" for name, value in server_options.items()),
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    } | DATABASES["default"].get("OPTIONS", {})

# In the database, because all processes must see the same counts and answers, and because the broker may be away.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        # With Django's 300, a few hundred addresses would push the counts of failed sign-ins out.
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    },
    # What pages asked Navigatr (`badging.catalogue`). Apart, so that no search can push counts out of the other one.
    "navigatr": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_navigatr_cache",
        "TIMEOUT": 60,
        "OPTIONS": {"MAX_ENTRIES": 500},
    },
    # Pictures of badges, each at most 1 MB. Every host keeps its own.
    "pictures": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": PORTAL_DATA_DIR / "pictures",
        "OPTIONS": {"MAX_ENTRIES": 200},
    },
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Signing in ---
PASSWORD_HASHERS = ["people.hashing.BoundedPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
# The first one refuses who must wait, the second one all permissions without staff status; the third one checks names,
# addresses and passwords.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "people.backends.StaffOnly",
    "allauth.account.auth_backends.AuthenticationBackend",
]
# Staff without a second factor can then only add one.
REQUIRE_SECOND_FACTOR = _switch("REQUIRE_SECOND_FACTOR")

ACCOUNT_ADAPTER = "people.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
# Addresses are typed by site admins, not by those who sign in.
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_FORMS = {
    "login": "people.forms.SignInForm",
    "change_password": "people.forms.PasswordForm",
    "reauthenticate": "people.forms.ConfirmByPasswordForm",
    "set_password": "people.forms.FirstPasswordForm",
    "reset_password": "people.forms.ForgottenForm",
    "reset_password_from_key": "people.forms.ChooseForm",
}
# Beside `people.guessing`. "ip" is one address, where a whole college may sign in; "key" is one account.
ACCOUNT_RATE_LIMITS = {
    # No limit: it would count right passwords, too, and one machine could keep out known browsers at the same address.
    "login": "",
    # Never empty: it guards the second factor as well, and there by "key". Passwords are counted by "ip" only, but not
    # those of known browsers.
    "login_failed": "60/m/ip,600/h/ip,10/5m/key",
    "reset_password": "20/m/ip,3/h/key",
    "reset_password_from_key": "60/m/ip",
    "change_password": "5/m/user",
    "reauthenticate": "10/m/user",
}

MFA_ADAPTER = "people.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
# The clocks of a phone and the server may differ by one period.
MFA_TOTP_TOLERANCE = 1
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_RATE_LIMITS = {"webauthn_login": "120/m/ip"}
MFA_FORMS = {
    "activate_totp": "people.forms.AppForm",
    "authenticate": "people.forms.SecondFactorForm",
    "reauthenticate": "people.forms.ConfirmByCodeForm",
    "add_webauthn": "people.forms.PasskeyForm",
}

AXES_HANDLER = "people.axes_handler.SignInHandler"
AXES_LOCKOUT_CALLABLE = "people.axes_handler.locked_page"
AXES_CLIENT_IP_CALLABLE = "people.guessing.address_of"
# Who tries again while they must wait does not wait longer.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = False

# Any OpenID Connect provider. Accounts are matched by verified address; nobody gets a new one.
OIDC_NAME = env("OIDC_NAME", default="") or "single sign-on"
OIDC_SERVER_URL = _provider_address("OIDC_SERVER_URL")
OIDC_CLIENT_ID = env("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET = env("OIDC_CLIENT_SECRET", default="")
if OIDC_SERVER_URL and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise ImproperlyConfigured("OIDC_SERVER_URL must come with OIDC_CLIENT_ID and OIDC_CLIENT_SECRET.")
# The claim that lists somebody's groups, and which of its values means which group of the portal.
OIDC_GROUPS_CLAIM = env("OIDC_GROUPS_CLAIM", default="")
OIDC_GROUPS = _pairs("OIDC_GROUPS")
SOCIALACCOUNT_ADAPTER = "people.adapters.SocialAccountAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": []}}
if OIDC_SERVER_URL:
    SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"].append(
        {
            "provider_id": "oidc",
            "name": OIDC_NAME,
            "client_id": OIDC_CLIENT_ID,
            "secret": OIDC_CLIENT_SECRET,
            "settings": {"server_url": OIDC_SERVER_URL},
        }
    )

# Without a mail server, site admins pass on the links that people need.
vars().update(_mail("EMAIL_URL"))
SENDS_MAIL = bool(env("EMAIL_URL", default=""))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="") or "portal@localhost"
# Sessions know their user. They end this long after the last request; staff's end with the browser, too.
SESSION_ENGINE = "people.sessions"
SESSION_COOKIE_AGE = 60 * _number("SESSION_IDLE_MINUTES", 120, least=5, most=43_200)

LANGUAGE_CODE = "en-gb"
# All texts are marked for translation. Add a language here when it has been translated.
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

# To standard error in all modes; the launcher forwards it. The formatter leaves out messages of exceptions.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "NOTSET", "propagate": True},
        # The request lines of the development server have query strings, and so what people search for.
        "django.server": {"handlers": [], "level": "CRITICAL", "propagate": True},
        # It would warn of each request that waits for a thread.
        "waitress.queue": {"handlers": [], "level": "ERROR", "propagate": True},
    },
}

# Messages only start work; the database knows what is due. A lost message delays work by seconds.
CELERY_BROKER_URL = env("CELERY_BROKER_URL", default="")
EMBEDDED_BROKER = not CELERY_BROKER_URL
if EMBEDDED_BROKER:
    CELERY_BROKER_URL = embedded.broker_url(PORTAL_DATA_DIR)
# The Valkey or Redis that is run as the embedded broker: a path, or a name on PATH. Default: the packaged one.
EMBEDDED_BROKER_PROGRAM = env("EMBEDDED_BROKER_PROGRAM", default="").strip()
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULER = "badging.beat:PortalScheduler"
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Worker and beat reconnect to the broker without limit.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A page waits for the broker at most 2 s to connect and 5 s for an answer.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5, "max_retries": 0}
# Celery keeps LOGGING above.
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# `portal --sandbox` writes this file. The data folder of a demo is bound to its sandbox, so that the demo's learners
# are never sent to the real Navigatr.
SANDBOX_URL = _data_file("sandbox_url")
# Whom people ask for help: an e-mail address, a web address, or a few words. The help page shows it.
SUPPORT_CONTACT = env("SUPPORT_CONTACT", default="").strip()

# The API of each environment; docs/navigatr-api.md, "Environments and tokens".
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

# Where people create a Personal Access Token. The sandbox shows its tokens on its own page.
NAVIGATR_TOKEN_PAGES = {
    "production": env(
        "NAVIGATR_PRODUCTION_TOKEN_PAGE",
        default=f"{SANDBOX_URL}/#connect" if SANDBOX_URL else "https://navigatr.app/settings/personal-access-tokens/",
    ),
    "staging": env(
        "NAVIGATR_STAGING_TOKEN_PAGE",
        default=f"{SANDBOX_URL}/#connect"
        if SANDBOX_URL
        else "https://stag.navigatr.app/settings/personal-access-tokens/",
    ),
}

# Nothing is loaded from other hosts, nothing inline runs, and only scripts with the page's nonce do: templates write
# nonce="{{ request.csp_nonce }}". Style sheets are files; the nonce is for those that a page must write itself.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [CSP_NONE],
        "script-src": [CSP_NONCE, CSP_STRICT_DYNAMIC],
        "style-src": [CSP_SELF, CSP_NONCE],
        "img-src": [CSP_SELF],
        "connect-src": [CSP_SELF],
        "object-src": [CSP_NONE],
        "form-action": [CSP_SELF],
        "base-uri": [CSP_NONE],
        "frame-ancestors": [CSP_NONE],
    }
}
# What differs under /admin/: unfold's pages know no nonces, its Alpine evaluates the expressions that stand in its
# templates, and its fonts are files. No inline script runs.
ADMIN_SECURITY_POLICY = {
    "script-src": [CSP_SELF, CSP_UNSAFE_EVAL],
    "style-src": [CSP_SELF, CSP_UNSAFE_INLINE],
    "font-src": [CSP_SELF],
    "img-src": [CSP_SELF, "data:"],
}

# How the admin looks. `config.admin_menu` has its menu.
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": gettext_lazy("Navigatr badge portal"),
    "SITE_HEADER": gettext_lazy("Navigatr badge portal"),
    "SITE_ICON": lambda _request: static("badging/mark.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("badging/mark.svg")}],
    "SHOW_VIEW_ON_SITE": False,
    # The header has all of them.
    "SITE_URL": None,
    "STYLES": [lambda _request: static("badging/admin.css")],
    # The accent of the course managers' pages, in lighter and darker shades.
    "COLORS": {
        "primary": {
            "50": "#eef7fb", "100": "#d7ebf4", "200": "#b3d9ea", "300": "#7cc4e0", "400": "#3f9fc4", "500": "#1f7fa5",
            "600": "#0b5c7a", "700": "#084860", "800": "#063a4e", "900": "#052f3f", "950": "#031d28",
        },
    },
}  # fmt: skip

# After the n-th failure an issuance waits RETRY_FIRST × RETRY_FACTOR^(n-1), at most RETRY_LONGEST, before it is tried
# again. It is given up after RETRY_GIVE_UP.
RETRY_FIRST = timedelta(seconds=_number("RETRY_FIRST_SECONDS", 60))
RETRY_FACTOR = _number("RETRY_FACTOR", 4)
RETRY_LONGEST = timedelta(seconds=_number("RETRY_LONGEST_SECONDS", 86400))
RETRY_GIVE_UP = timedelta(days=_number("RETRY_GIVE_UP_DAYS", 7))
# A worker must renew its lease within this time. Others take over its issuances one time-out of the connection later.
LEASE = timedelta(seconds=_number("LEASE_SECONDS", 300))
# After this many failed calls in a row a connection is paused. Each failed probe doubles the pause.
CIRCUIT_THRESHOLD = _number("CIRCUIT_THRESHOLD", 10)
CIRCUIT_FIRST_PAUSE = timedelta(seconds=_number("CIRCUIT_FIRST_PAUSE_SECONDS", 30))
CIRCUIT_LONGEST_PAUSE = timedelta(seconds=_number("CIRCUIT_LONGEST_PAUSE_SECONDS", 600))
# The number of calls to one Navigatr connection at the same time.
SEND_THREADS = _number("SEND_THREADS", 64)
# The number of issuances that a worker claims at once.
SEND_BATCH = _number("SEND_BATCH", 500)
# The number of Moodle sites that a worker polls at the same time.
POLLS_AT_ONCE = _number("POLLS_AT_ONCE", 32, most=1000)
# The number of slow or failing sites that it polls in addition.
POLLS_WAITING = _number("POLLS_WAITING", 64, most=1000)
# The most calls of one poll to a Moodle without the report.
MOODLE_CALLS_PER_ROUND = _number("MOODLE_CALLS_PER_ROUND", 1000)
# The hosts at which Moodle sites may be; empty for all. Link-local and metadata addresses are always refused.
MOODLE_HOSTS = _hosts("MOODLE_HOSTS")
# Seconds that Moodle may take to answer a call.
MOODLE_TIMEOUT = _number("MOODLE_TIMEOUT_SECONDS", 30)
# For how long the words in which others answered are kept.
WORDS_KEPT = timedelta(days=_number("WORDS_KEPT_DAYS", 90, most=3650))
