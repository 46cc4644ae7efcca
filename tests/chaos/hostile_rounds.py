"""A round of three honest clients and some hostile ones, whose envelopes are taken and refused when they are opened."""

from functools import partial

import numpy as np
import pytest

from boltz_protocol.tensors import Layout
from tests.apps.hostile_envelopes import send, take_place
from tests.apps.signed_requests import enrolled
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, send_all


@pytest.fixture
def layout(parameters):
    return Layout.of({"w": np.zeros(parameters, np.float32)})


@pytest.fixture
def run_round(mesh, wire, layout):
    """Tells the code with which each case was refused."""
    return partial(codes_of, mesh=mesh, wire=wire, layout=layout)


def codes_of(cases, *, mesh, wire, layout, senders=None):
    """Run a round with one hostile client for each case; the code with which each was refused.

    `cases` maps a name to what makes the envelope out of a place.
    """
    senders = senders or one_hot_senders(layout.parameters)[:3]
    mesh.add_models(1, parameters=layout.parameters, target=len(senders) + len(cases))
    model = mesh.fresh_model()
    places = {
        name: take_place(enrolled(wire, f"hostile-{number}-of-{model}"), layout, model=model)
        for number, name in enumerate(cases)
    }
    answers = {name: send(place, cases[name](place)).status_code for name, place in places.items()}
    assert answers == dict.fromkeys(cases, 202)
    mesh.until(lambda: mesh.update_states(model).count("rejected") == len(cases), "each of them is refused")
    refused = {place.upload_id: name for name, place in places.items()}
    codes = dict(mesh.rows("SELECT id, code FROM rounds_update WHERE id = ANY(%s)", list(refused)))
    check_nothing_is_staged(mesh, model)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders, refused=list(refused))
    return {refused[upload_id]: code for upload_id, code in codes.items()}


def check_nothing_is_staged(mesh, model):
    """Of a refused update no segment lies on disk, and nobody failed at it or lost a lease on it."""
    round_id = mesh.value(ROUND, model)
    assert not list((mesh.directory / "data" / "staged" / str(round_id)).glob("*"))
    troubled = "SELECT 1 FROM rounds_update WHERE round_id = %s AND (lost_leases > 0 OR failures > 0)"
    assert mesh.count(troubled, round_id) == 0
