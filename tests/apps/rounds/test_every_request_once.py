"""Each signed request of a client's whole life counts once: sent again byte for byte, it is nobody's."""

import httpx
import pytest
from django.db import connection

from apps.clients import services as clients
from boltz_protocol.http_signature import ParsedSignature
from tests.apps.mesh import data


class SentTwice(httpx.BaseTransport):
    """Passes each request on, and then once more; keeps what the second one was answered."""

    def __init__(self, mesh: httpx.BaseTransport) -> None:
        self.mesh = mesh
        self.repeated: dict[str, int] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = self.mesh.handle_request(request)
        answer.read()
        again = self.mesh.handle_request(request)
        if "Signature" in request.headers:
            self.repeated[f"{request.method} {request.url.path.split('/')[-2]}"] = again.status_code
        return answer


def test_no_request_of_a_clients_life_can_be_played_again(mesh):
    mesh.make_model()
    mesh.transport = twice = SentTwice(mesh.transport)
    client = mesh.client()
    client.models()
    client.rounds("boltz-core")
    client.participate_in_round("boltz-core", data(), round_number=1).refreshed()
    client.record()
    client.rotate_key()
    client.leave()
    # two path segments from the end tell the endpoints apart
    expected = {"POST v1", "GET v1", "GET boltz-core", "GET rounds", "GET versions", "GET 0", "POST 1", "PUT updates"}
    expected |= {"GET updates", "GET clients", "POST me", "DELETE clients"}
    assert twice.repeated == dict.fromkeys(expected, 401)


def signature(nonce):
    return ParsedSignature(kid="k" * 43, nonce=nonce, created=0, expires=2_000_000_000, base=b"", signature=b"")


@pytest.mark.django_db(transaction=True)
def test_a_nonce_on_its_own_does_not_wait_for_the_disk_and_later_work_does():
    # what would be committed without waiting is what the setting says inside the statement's own transaction
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE seen (how text)")
        cursor.execute(
            "CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER look AFTER INSERT ON clients_spentnonce FOR EACH ROW EXECUTE FUNCTION pg_temp.look()"
        )
        try:
            cursor.execute("SET synchronous_commit = on")
            clients.spend_nonce(signature("alone"))
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
            cursor.execute("SELECT how FROM seen")
            assert cursor.fetchall() == [("off",)]
            with pytest.raises(clients.ReplayedError):
                clients.spend_nonce(signature("alone"))
        finally:
            cursor.execute("DROP TRIGGER look ON clients_spentnonce")
            cursor.execute("RESET synchronous_commit")
