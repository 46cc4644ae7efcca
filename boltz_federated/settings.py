"""Settings, all from the environment, failing closed: what is a secret has no default, what is unsafe must be asked for."""

from http import HTTPStatus
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from boltz_federated.environment import (
    database,
    env,
    is_loopback,
    key_encryption_key,
    log_level,
    positive,
    quota,
    rate,
    redis_url,
    required,
    switch,
)
from boltz_protocol.http_signature import MAX_LIFETIME_SECONDS
from worker.configuration import KEY_PREFIX

BASE_DIR = Path(__file__).resolve().parent.parent

# --- how this process runs --------------------------------------------------------------------------------------------------

SECRET_KEY_CHARACTERS = 50
DEBUG = switch("DEBUG")
SECRET_KEY = required(
    "SECRET_KEY", "It must be 50 or more random characters; `./dev up` and `deploy/make-env` make one."
)
if len(SECRET_KEY) < SECRET_KEY_CHARACTERS:
    raise ImproperlyConfigured(
        f"SECRET_KEY has {len(SECRET_KEY)} characters; it must have {SECRET_KEY_CHARACTERS} or more, all of them random."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
BOLTZ_DEV_MODE = switch("BOLTZ_DEV_MODE")
if BOLTZ_DEV_MODE and not all(map(is_loopback, ALLOWED_HOSTS)):
    raise ImproperlyConfigured(
        "BOLTZ_DEV_MODE admits every client and runs without TLS, so ALLOWED_HOSTS may name this machine only (localhost, 127.0.0.1)."
    )

ROOT_URLCONF = "boltz_federated.urls"
WSGI_APPLICATION = "boltz_federated.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "apps.operator_pages",
    "apps.keys",
    "apps.audit",
    "apps.clients",
    "apps.rounds",
    "apps.aggregation",
    "boltz_federated.project.ProjectConfig",
]

MIDDLEWARE = [
    # a Host header can be forged, the address of a connection cannot
    *(["boltz_federated.middleware.only_this_machine"] if BOLTZ_DEV_MODE else []),
    "django.middleware.security.SecurityMiddleware",
    "boltz_federated.request_limits.limit_requests",
    "boltz_federated.middleware.no_null_characters",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # last: the form's token has been checked
    "boltz_federated.request_limits.LimitLogIns",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "boltz_federated" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- where things are stored ------------------------------------------------------------------------------------------------

DATABASES = {"default": database()}
DATABASES["default"] |= {
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {
        "connect_timeout": 5,
        "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=120s",
    },
}

REDIS_URL = redis_url()
BOLTZ_REDIS_PREFIX = KEY_PREFIX

BOLTZ_DATA_DIR = Path(
    required("BOLTZ_DATA_DIR", "It is the directory that keeps envelopes, staged updates and versions.")
)
BOLTZ_KEY_DIR = Path(env.str("BOLTZ_KEY_DIR", default=str(BOLTZ_DATA_DIR / "keys")))
BOLTZ_KEY_ENCRYPTION_KEY = key_encryption_key()
BOLTZ_KEY_PASSPHRASE = env.str("BOLTZ_KEY_PASSPHRASE", default="")

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "versions": {
        "BACKEND": "apps.rounds.versions.DurableFileSystemStorage",
        "OPTIONS": {"location": BOLTZ_DATA_DIR / "versions", "file_permissions_mode": 0o640},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = BOLTZ_DATA_DIR / "static"
WHITENOISE_USE_FINDERS = BOLTZ_DEV_MODE or DEBUG

# --- how the mesh behaves ---------------------------------------------------------------------------------------------------

BOLTZ_ENROLMENT = env.str("BOLTZ_ENROLMENT", default="open" if BOLTZ_DEV_MODE else "token")
if BOLTZ_ENROLMENT not in {"open", "token", "approval"}:
    raise ImproperlyConfigured(f"BOLTZ_ENROLMENT is {BOLTZ_ENROLMENT!r}; it must be open, token or approval.")
if BOLTZ_ENROLMENT == "open" and not BOLTZ_DEV_MODE:
    raise ImproperlyConfigured(
        "BOLTZ_ENROLMENT=open admits anyone; it is for BOLTZ_DEV_MODE only. Use token or approval."
    )

LONGEST_SECONDS = 86_400
BOLTZ_TICK_SECONDS = positive("BOLTZ_TICK_SECONDS", default=30.0, most=LONGEST_SECONDS)
BOLTZ_LEASE_SECONDS = positive("BOLTZ_LEASE_SECONDS", default=60.0, most=LONGEST_SECONDS)
BOLTZ_RETRY_SECONDS = positive("BOLTZ_RETRY_SECONDS", default=30.0, most=LONGEST_SECONDS)
BOLTZ_RECONCILE_SECONDS = positive("BOLTZ_RECONCILE_SECONDS", default=1.0, most=LONGEST_SECONDS)
BOLTZ_MAX_ATTEMPTS = positive("BOLTZ_MAX_ATTEMPTS", default=5, most=1000)
# Half of it is for the client: what it sealed and signed just before a rotation is taken for as long as a signature may
# live. The other half is ours, from the last look at the key to the commit; both the look and the commit are quick, but
# a database may be slow, and a key that is destroyed too early makes an update unreadable that was answered with 202.
BOLTZ_KEY_GRACE_SECONDS = positive(
    "BOLTZ_KEY_GRACE_SECONDS", default=900.0, least=2 * MAX_LIFETIME_SECONDS, most=LONGEST_SECONDS
)
BOLTZ_ENCRYPTION_KEY_DAYS = positive("BOLTZ_ENCRYPTION_KEY_DAYS", default=7.0, most=366)
BOLTZ_HOLD_SECONDS = positive("BOLTZ_HOLD_SECONDS", default=5.0, most=30.0)
BOLTZ_SHARD_PARAMETERS = positive("BOLTZ_SHARD_PARAMETERS", default=1 << 21, most=1 << 31)

# --- how much anybody may ask for: so many a second, so many at once -----------------------------------------------------------

# a client waits for a round by asking from twenty times a second to once in five
BOLTZ_LIMIT_CLIENT = rate("BOLTZ_LIMIT_CLIENT", default="20/200")
# a thousand clients may share an address, and ask once a second each
BOLTZ_LIMIT_ADDRESS = rate("BOLTZ_LIMIT_ADDRESS", default="2000/10000")
BOLTZ_LIMIT_REFUSED = rate("BOLTZ_LIMIT_REFUSED", default="5/100")
BOLTZ_LIMIT_LOG_IN = rate("BOLTZ_LIMIT_LOG_IN", default="0.05/10")
BOLTZ_LIMIT_LOG_IN_ADDRESS = rate("BOLTZ_LIMIT_LOG_IN_ADDRESS", default="0.2/30")
# a client and round: requests that join it or send for it, and their bytes; all of it again within an hour
BOLTZ_QUOTA_REQUESTS = quota("BOLTZ_QUOTA_REQUESTS", default=64)
BOLTZ_QUOTA_BYTES = quota("BOLTZ_QUOTA_BYTES", default=4 << 30)

# --- web --------------------------------------------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = not BOLTZ_DEV_MODE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# A browser that has seen it refuses this host without a certificate it trusts, for so long: begin with an hour, and ask
# for a year (31536000) once the certificate is one that stays.
BOLTZ_HSTS_SECONDS = positive("BOLTZ_HSTS_SECONDS", default=3600, most=2 * 31_536_000)
SECURE_HSTS_SECONDS = 0 if BOLTZ_DEV_MODE else BOLTZ_HSTS_SECONDS
# other names below this host's, and the lists that browsers come with, are not ours to decide about
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
BOLTZ_BEHIND_PROXY = switch("BOLTZ_BEHIND_PROXY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BOLTZ_BEHIND_PROXY else None
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 3600
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.clients.authentication.SignatureAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.clients.permissions.IsActiveClient"],
    "DEFAULT_THROTTLE_CLASSES": ["apps.clients.throttles.ClientThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["apps.wire.canonical_json.CanonicalJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.wire.canonical_json.CanonicalJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "boltz_federated.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "BoltzTrader Federated Learning Mesh",
    "DESCRIPTION": "Requests are signed (RFC 9421), updates are sealed (BTE1), bodies are canonical JSON (RFC 8785), errors are problem+json (RFC 9457).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["boltz_federated.openapi.add_problem_responses"],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- logging ----------------------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # a line for each would be the flood's second victim; who reaches a limit is told once a minute (apps/limits)
    "filters": {
        "no_floods": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", None) != HTTPStatus.TOO_MANY_REQUESTS,
        }
    },
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": log_level()},
    "loggers": {
        "django.server": {"propagate": True},
        "django.request": {"filters": ["no_floods"]},
        "httpx": {"level": "WARNING"},
    },
}

UNFOLD = {
    "SITE_TITLE": "BoltzTrader mesh",
    "SITE_HEADER": "BoltzTrader mesh",
    "SITE_SUBHEADER": "Federated learning",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "boltz_federated.dashboard.favicon"}],
    "SHOW_VIEW_ON_SITE": False,
    # what was done stands in the mesh's own log
    "SHOW_HISTORY": False,
    "ENVIRONMENT": "boltz_federated.dashboard.environment_label",
    "DASHBOARD_CALLBACK": "boltz_federated.dashboard.dashboard_context",
    "STYLES": ["boltz_federated.dashboard.stylesheet"],
    "SIDEBAR": {"show_search": False, "navigation": "boltz_federated.navigation.sidebar"},
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        }
    },
}
