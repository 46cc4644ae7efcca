"""Organisations, enrolment tokens and clients in the admin."""

from apps.clients.admin.clients import ClientAdmin
from apps.clients.admin.organisations import OrganisationAdmin
from apps.clients.admin.tokens import EnrolmentTokenAdmin

__all__ = ["ClientAdmin", "EnrolmentTokenAdmin", "OrganisationAdmin"]
