"""The columns in which updates are shown, in every list of them."""

from apps.operator_pages import display
from apps.operator_pages.columns import column


class UpdateColumns:
    """For an admin or inline of updates."""

    update_link = column(
        "update", lambda update: display.link_to(update, f"{update.pk[: display.SHORT_DIGEST]}…"), ordering="pk"
    )
    client_link = column("client", lambda update: display.link_to(update.client), ordering="client__name")
    state_word = column("state", lambda update: display.badge(update.state, title=update.reason), ordering="state")
    code_word = column("code", lambda update: display.code(update.code), ordering="code")
    norm_short = column("norm", lambda update: display.number(update.norm), ordering="norm")
    share_word = column("share", lambda update: display.share(update.share), ordering="share")
    received = column("received (UTC)", lambda update: display.moment(update.received_at), ordering="received_at")
