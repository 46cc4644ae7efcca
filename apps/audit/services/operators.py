"""Who acts, when it is a person at the admin."""

from typing import Any

from apps.audit.models import Operator
from apps.audit.services.subjects import new_pseudonym


def actor_of(user: Any) -> str:
    """The pseudonym of a user of the admin; made the first time. The same one each time."""
    operator, _ = Operator.objects.get_or_create(user=user, defaults={"pseudonym": new_pseudonym("operator")})
    return operator.pseudonym
