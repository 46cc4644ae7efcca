"""The metrics of a version: what its members claim, together, and never what one or two of them say."""

import numpy as np
import pytest

from apps.clients import services as clients
from apps.operator_pages import display
from apps.rounds.admin.shared_metrics import shared_metrics
from apps.rounds.models import ModelVersion, Update
from boltz_client import LocalPolicy
from tests.apps.admin.pages import row_page, text_of
from tests.apps.mesh import MODEL, data

SILENT = LocalPolicy(share_metrics=False)


@pytest.fixture
def publish(mesh):
    """Publish version 1 from so many members who share their metrics and so many who do not."""

    def run(sharing, silent=0):
        mesh.make_model(target=20)
        for seed in range(sharing + silent):
            options = {"local_policy": SILENT} if seed >= sharing else {}
            member = mesh.client(f"client-{seed}", **options)
            member.participate_in_round(MODEL, data(seed, rows=40 + 30 * seed), round_number=1)
        mesh.finish_round()
        return ModelVersion.objects.get(number=1)

    return run


def row_of(name, updates, *, members):
    """What the page says of a metric, reckoned from the updates by another way."""
    values = np.array([update.claims["metrics"][name] for update in updates])
    mean = np.average(values, weights=[update.share for update in updates])
    shown = [display.number(value) for value in (mean, values.min(), values.max())]
    return f"{name} {shown[0]} {shown[1]} to {shown[2]} {len(values)} of {members}"


def test_a_version_shows_mean_and_range_of_each_metric_over_those_who_shared_it(browser, publish):
    version = publish(sharing=4, silent=1)
    text = text_of(browser.get(row_page(version)))
    sharing = Update.objects.exclude(claims__metrics={})
    assert sharing.count() == 4
    names = list(sharing[0].claims["metrics"])
    assert {"before.mse", "after.mse"} <= set(names)
    for name in names:
        assert row_of(name, sharing, members=5) in text


def test_what_two_members_have_shared_is_not_shown(browser, publish):
    text = text_of(browser.get(row_page(publish(sharing=2, silent=2))))
    assert "No metric was shared by 3 members or more." in text
    assert "before.mse" not in text


def test_when_one_of_three_is_erased_what_the_other_two_have_shared_is_shown_no_more(browser, publish):
    version = publish(sharing=3)
    assert "before.mse" in text_of(browser.get(row_page(version)))
    clients.erase(Update.objects.first().client, actor="test")
    assert "before.mse" not in text_of(browser.get(row_page(version)))


def test_the_seed_version_has_no_metrics(browser, mesh):
    mesh.make_model()
    assert "No metric was shared" in text_of(browser.get(row_page(ModelVersion.objects.get())))


def test_the_names_that_clients_give_are_text_and_nothing_else(browser, publish):
    version = publish(sharing=3)
    name = "<script>alert(1)</script>"
    for update in Update.objects.all():
        Update.objects.filter(pk=update.pk).update(claims=update.claims | {"metrics": {name: 1.0}})
    body = browser.get(row_page(version)).content.decode()
    assert name not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body


def test_those_that_most_clients_share_come_first_and_the_list_ends(browser, publish):
    version = publish(sharing=4)
    crowd = {f"m{number:02}": 1.0 for number in range(40)}
    for number, update in enumerate(Update.objects.all()):
        metrics = (crowd if number else {}) | {"zz": 2.0}
        Update.objects.filter(pk=update.pk).update(claims=update.claims | {"metrics": metrics})
    text = text_of(browser.get(row_page(version)))
    assert text.index("zz 2") < text.index("m00 1")
    assert "m30 1" in text
    assert "m31 1" not in text
    assert "and 9 more" in text


def test_the_largest_numbers_there_are_break_no_page(browser, publish):
    version = publish(sharing=3)
    for update, value in zip(Update.objects.all(), (1.7e308, -1.7e308, 5e-324), strict=True):
        Update.objects.filter(pk=update.pk).update(claims=update.claims | {"metrics": {"m": value}})
    assert "-1.700e+308 to 1.700e+308" in text_of(browser.get(row_page(version)))


def test_a_mean_is_weighted_and_stays_in_its_range():
    claimed = [({"m": 1.0}, 0.5), ({"m": 2.0}, 0.25), ({"m": 4.0, "lonely": 1.0}, 0.25)]
    found = shared_metrics(claimed)
    assert set(found) == {"m"}
    assert (found["m"].mean, found["m"].smallest, found["m"].largest) == (2.0, 1.0, 4.0)
    alike = shared_metrics([({"m": 0.1}, share) for share in (0.1, 0.2, 0.7)])["m"]
    assert alike.smallest == alike.mean == alike.largest
