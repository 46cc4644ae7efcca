"""The admin as an operator sees it: every page in a real browser, without an error, in both themes and on a telephone."""

import pytest

from apps.clients.models import Client
from tests.apps.admin.pages import decision_page, every_page, row_page
from tests.browser.filled_mesh import fill

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(("width", "height", "theme"), [(1440, 900, "light"), (1440, 900, "dark"), (390, 844, "light")])
def test_every_page_of_a_full_mesh_shows_without_an_error(open_browser, mesh, settings, tmp_path, width, height, theme):
    fill(mesh, settings)
    # one row of each kind is enough to see what a theme or a width breaks
    pages = list(every_page(rows=2 if (width, theme) == (1440, "light") else 1))
    with open_browser(width, height, theme) as watched:
        for number, path in enumerate(pages):
            watched.visit(path)
            watched.page.screenshot(path=tmp_path / f"{number:03}-{theme}-{width}.png", full_page=True)
    assert watched.troubles == []
    assert len(list(tmp_path.glob("*.png"))) == len(pages) > 50


def test_every_page_of_a_new_mesh_shows_without_an_error(open_browser, mesh, tmp_path):
    pages = list(every_page())
    with open_browser() as watched:
        for number, path in enumerate(pages):
            watched.visit(path)
            watched.page.screenshot(path=tmp_path / f"{number:03}.png")
    assert watched.troubles == []


def test_an_operator_suspends_a_client_with_a_reason(open_browser, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    with open_browser() as watched:
        page = watched.page
        watched.visit(row_page(client))
        page.click("text=Suspend")
        assert page.url.endswith(decision_page(client, "suspend"))
        page.fill("#id_reason", "sends too much")
        page.click("button:has-text('Suspend')")
        page.wait_for_url(f"**{row_page(client)}")
        assert page.locator(".op-badge.op-warning:has-text('suspended')").count() == 1
        assert page.locator("text=alpha: suspended").count() == 1
    client.refresh_from_db()
    assert client.state == "suspended"
    assert watched.troubles == []


def test_several_clients_are_approved_from_the_list(open_browser, mesh, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    for name in ("alpha", "beta"):
        mesh.client(name)
    with open_browser() as watched:
        page = watched.page
        watched.visit("/admin/clients/client/")
        page.check("#action-toggle-all, input[name=action_toggle_all], thead input[type=checkbox]")
        page.select_option("select[name=action]", "approve")
        page.click("button:has-text('Run')")
        page.click("button:has-text('Approve')")
        page.wait_for_selector("text=2 of 2: approved")
    assert set(Client.objects.values_list("state", flat=True)) == {"active"}
    assert watched.troubles == []


def test_a_new_token_is_shown_once(open_browser, mesh):
    with open_browser() as watched:
        page = watched.page
        watched.visit("/admin/clients/enrolmenttoken/add/")
        page.fill("#id_organisation", "Harbor Securities")
        page.click("button:has-text('Make the token')")
        text = page.locator(".op-secret").inner_text()
        assert text.startswith("bt_")
        page.click("text=I have copied it")
        page.wait_for_url("**/admin/clients/enrolmenttoken/")
        assert text not in page.content()
    assert watched.troubles == []
