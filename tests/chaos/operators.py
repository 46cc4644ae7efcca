"""What operators do in the admin, done on a running mesh by the same services."""

FOLDER = "models"


def act(mesh, *lines):
    """Run lines of Python in a process of the mesh's own kind."""
    mesh.manage("shell", "-v0", "-c", "\n".join(lines))


def revoke(mesh, name):
    """Keep a client out for good."""
    act(
        mesh,
        "from apps.clients import services",
        "from apps.clients.models import Client",
        f"services.revoke(Client.objects.get(name={name!r}), actor='test', reason='its key was stolen')",
    )


def open_next_round(mesh, model):
    """Open the round after the one that has ended."""
    act(
        mesh,
        "from apps.rounds import services",
        "from apps.rounds.models import FederatedModel",
        f"services.open_round(FederatedModel.objects.get(name={model!r}), actor='test')",
    )


def make_model_for_later(mesh, name, *, target):
    """Make a model like the others of this mesh, whose round 1 opens in an hour."""
    folder = mesh.directory / FOLDER
    act(
        mesh,
        "from datetime import timedelta",
        "from pathlib import Path",
        "from django.core.management import call_command",
        "from django.utils import timezone",
        "from apps.rounds import services",
        "from apps.rounds.models import FederatedModel",
        f"file, weights = Path({str(folder / 'model.json')!r}), Path({str(folder / 'weights.safetensors')!r})",
        f"call_command('create_model', name={name!r}, file=file, weights=weights, target={target})",
        f"model = FederatedModel.objects.get(name={name!r})",
        "services.open_round(model, opens_at=timezone.now() + timedelta(hours=1))",
    )


def let_it_be_time(mesh, model):
    """An hour later: the time at which round 1 opens has come."""
    with mesh.session(autocommit=True) as cursor:
        cursor.execute(
            "UPDATE rounds_round r SET opens_at = now() FROM rounds_federatedmodel m"
            " WHERE m.id = r.model_id AND m.name = %s AND r.number = 1",
            [model],
        )
