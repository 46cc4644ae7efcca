"""How often an update asks the database on its way: a number that is known, and the same in a round of any size."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.rounds import services
from apps.rounds.models import Update
from tests.apps.hostile_envelopes import seal, send
from tests.apps.places import vector_of

pytestmark = pytest.mark.django_db(transaction=True)

UPLOAD, STATUS, INGEST = 15, 3, 12


def statements(action):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        action()
    return len(captured)


@pytest.mark.parametrize("already_there", [0, 7])
def test_an_update_takes_these_many_statements_however_many_were_sent_before(joined, already_there):
    for number in range(already_there):
        place = joined(f"before-{number}")
        assert send(place, seal(place, vector_of(place.layout))).status_code == 202
    place = joined("alpha")
    envelope = seal(place, vector_of(place.layout))
    assert statements(lambda: send(place, envelope)) == UPLOAD
    update = Update.objects.latest("received_at")
    assert statements(lambda: services.process_update(update.pk)) == INGEST
    assert statements(lambda: place.client.get(place.path)) == STATUS
