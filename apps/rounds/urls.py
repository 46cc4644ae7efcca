"""Addresses of models, rounds and updates, below /api/v1/."""

from django.urls import path

from apps.rounds.apis.artifacts import ArtifactView
from apps.rounds.apis.models import ModelsView, OneModelView, RoundDetailView, RoundsView, VersionView
from apps.rounds.apis.updates import ParticipationView, UpdateView

urlpatterns = [
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:name>", OneModelView.as_view(), name="model"),
    path("models/<str:name>/versions/<str:number>", VersionView.as_view(), name="version"),
    path("models/<str:name>/versions/<str:number>/artifact", ArtifactView.as_view(), name="artifact"),
    path("models/<str:name>/rounds", RoundsView.as_view(), name="rounds"),
    path("models/<str:name>/rounds/<str:number>", RoundDetailView.as_view(), name="round"),
    path("models/<str:name>/rounds/<str:number>/participation", ParticipationView.as_view(), name="participation"),
    path("models/<str:name>/rounds/<int:number>/updates/<str:upload_id>", UpdateView.as_view(), name="update"),
]
