"""`from client.client_runtime import FederatedClient`, as the user's document has it."""

from boltz_client.client_runtime import FederatedClient as FederatedClient  # noqa: PLC0414 - re-exported
