"""What operators do to a mesh during a soak: each act a process of its own, that calls the services as the admin does."""

import psycopg2

from local_stack.errors import StackError

# acts on a client keep it out, or let it in again
ON_CLIENTS = ("suspend", "resume", "revoke", "erase")
SCRIPT = """
from apps.aggregation import services as aggregation
from apps.clients import services as clients
from apps.clients.models import Client
from apps.rounds import services as rounds
from apps.rounds.models import Round
from boltz_protocol.errors import BoltzError

round_ = Round.objects.select_related("model").filter(model__name={model!r}).first()
client = Client.objects.filter(name={client!r}).first()
who = {{"actor": "operator_of_the_soak"}}
why = who | {{"reason": "the soak"}}
try:
    # it may have left a moment ago, and its name with it
    print({act} if client or not {on_client} else "refused: unknown_client")
except BoltzError as error:
    print("refused:", error.code)
"""
ACTS = {
    "seal": "rounds.seal_round(round_, **who)",
    "abandon": "rounds.abandon_round(round_, **why)",
    "aggregate": "aggregation.aggregate_now(round_, **who).state",
    "suspend": "clients.suspend(client, **why)",
    "resume": "clients.resume(client, **why)",
    "revoke": "clients.revoke(client, **why)",
    "erase": "clients.erase(client, **who)",
    "rotate_encryption_key": "rounds.rotate_encryption_key(**who).kid",
    "rotate_signing_key": "rounds.rotate_signing_key(**who).kid",
}
# what an act may end with when the database goes away under it
DATABASE_AWAY = ("OperationalError", "InterfaceError", "The database cannot be used")


class RefusedActError(Exception):
    """The mesh does not do it, or it is not known whether it has."""


class Operators:
    """One operator at a time."""

    def __init__(self, soak):
        self._soak = soak

    def run(self, actions):
        """Act until the soak is over."""
        over = self._soak.journal.over
        with self._soak.journal.judging("operators"):
            for action in actions:
                if over.wait(action.pause_seconds):
                    return
                client = self._soak.names[action.client]
                self.act(action.kind, model=action.model, client=client)
                if action.kind == "suspend":
                    over.wait(action.lasts_seconds)
                    self.resume(client)

    def resume(self, client):
        """End a suspension, whatever became of it: also when the soak is over meanwhile."""
        for _ in range(3):
            if self.act("resume", model="", client=client) is not None:
                return

    def act(self, kind, *, model, client):
        """One act; returns what was answered, None when that is not known."""
        if kind in ON_CLIENTS and not self._is_there(client):
            return "there is no such client"
        self._soak.journal.write("operator", kind, model=model, client=client)
        try:
            with self._soak.ledger.act(kind, client):
                answer = self._carry_out(kind, model=model, client=client)
        except RefusedActError as error:
            answer = error.args[0]
        self._soak.journal.write("operator", "is answered", answer=answer)
        return answer

    def _carry_out(self, kind, *, model, client):
        try:
            said = self._soak.mesh.manage(
                "shell",
                "-v0",
                "-c",
                SCRIPT.format(model=model, client=client, act=ACTS[kind], on_client=kind in ON_CLIENTS),
            ).strip()
        except StackError as error:
            if any(name in str(error) for name in DATABASE_AWAY):
                raise RefusedActError(None) from error
            raise
        if said.startswith("refused:"):
            raise RefusedActError(said)
        return said

    def _is_there(self, client):
        try:
            return self._soak.mesh.count("SELECT 1 FROM clients_client WHERE name = %s", client) == 1
        except psycopg2.OperationalError:
            # then the act finds out
            return True
