"""The mesh's keys in the admin: their public halves. `apps.rounds.admin` adds rotation, which open rounds follow."""

from apps.keys.models import KeyState, KeyUse
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin

MEANINGS = {
    (KeyUse.SIGNING, KeyState.CURRENT): "It signs receipts, manifests and descriptors.",
    (KeyUse.SIGNING, KeyState.RETIRED): "It signs nothing new; what it has signed is still verified with it.",
    (KeyUse.ENCRYPTION, KeyState.CURRENT): "Clients seal their updates for it.",
    (KeyUse.ENCRYPTION, KeyState.RETIRED): "It opens updates that are still in work; then it is destroyed.",
}
DESTROYED = "Its private half is gone: nobody can open what was sealed for it, or sign with it."


class MeshKeyAdmin(DecidingAdmin):
    """Every key there ever was."""

    nothing_yet = "They are made when the mesh starts for the first time: manage.py first_start."
    list_display = ("short_id", "purpose", "alg", "state_word", "since", "until", "meaning")
    list_display_links = ("short_id",)
    list_filter = ("use", "state")
    search_fields = ("kid",)
    search_help_text = "Key id"
    ordering = ("-not_before",)
    fields = (
        "full_id",
        ("purpose", "alg"),
        ("state_word", "meaning"),
        ("exactly_since", "exactly_until"),
        "public_half",
        "signed_by",
    )

    short_id = column("key id", lambda key: display.short(key.kid), ordering="kid")
    full_id = column("key id", lambda key: display.code(key.kid))
    purpose = column("purpose", lambda key: str(key.get_use_display()), ordering="use")
    state_word = column("state", lambda key: display.badge(key.state), ordering="state")
    meaning = column("what it does", lambda key: MEANINGS.get((KeyUse(key.use), KeyState(key.state)), DESTROYED))
    since = column("since", lambda key: display.moment(key.not_before), ordering="not_before")
    until = column("until", lambda key: display.moment(key.not_after), ordering="not_after")
    exactly_since = column("in use since", lambda key: display.exact_moment(key.not_before))
    exactly_until = column("in use until", lambda key: display.exact_moment(key.not_after))
    public_half = column("public key (JWK)", lambda key: display.json_block(key.public))
    signed_by = column("succession, signed by the old key", lambda key: display.json_block(key.succession))
