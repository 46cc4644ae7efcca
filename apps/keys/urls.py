"""Addresses of the keys, below /api/v1/."""

from django.urls import path

from apps.keys.apis import KeysView

urlpatterns = [path("keys", KeysView.as_view(), name="keys")]
