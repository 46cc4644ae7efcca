"""Every address of the mesh."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from boltz_federated import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("apps.keys.urls")),
    path("api/v1/", include("apps.clients.urls")),
    path("api/v1/", include("apps.rounds.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.live),
    path("readyz", health.ready),
    path("metrics", health.metrics),
]

handler400 = "boltz_federated.problems.bad_request"
handler404 = "boltz_federated.problems.not_found"
handler500 = "boltz_federated.problems.server_error"
