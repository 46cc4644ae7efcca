"""Addresses of clients, below /api/v1/."""

from django.urls import path

from apps.clients.apis import ClientsView, MeView, MyKeysView

urlpatterns = [
    path("clients", ClientsView.as_view(), name="clients"),
    path("clients/me", MeView.as_view(), name="me"),
    path("clients/me/keys", MyKeysView.as_view(), name="my-keys"),
]
