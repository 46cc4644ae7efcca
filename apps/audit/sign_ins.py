"""Log-ins of operators, and failed ones, in the log."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from apps.audit import services
from apps.wire.source_address import source_address


@receiver(user_logged_in)
def on_logged_in(*, user: Any, **_: Any) -> None:
    """An operator has come in."""
    services.append("operator.logged_in", actor=services.actor_of(user), detail={})


@receiver(user_logged_out)
def on_logged_out(*, user: Any, **_: Any) -> None:
    """An operator has left; Django also says so for a session that had no user."""
    if user is not None:
        services.append("operator.logged_out", actor=services.actor_of(user), detail={})


@receiver(user_login_failed)
def on_login_failed(*, request: HttpRequest | None = None, **_: Any) -> None:
    """Somebody was refused; who they said they were is not kept."""
    address = source_address(request) if request is not None else "unknown"
    services.record_refusal("operator.log_in_failed", address=address, reason="wrong name or password")
