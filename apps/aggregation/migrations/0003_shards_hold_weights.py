"""Shards hold the new weights of their range, no longer its step; runs under way combine their ranges again."""

from django.db import migrations, models


def forget_steps(apps, schema_editor):
    apps.get_model("aggregation", "Shard").objects.filter(run__state="running").delete()


class Migration(migrations.Migration):

    dependencies = [
        ("aggregation", "0002_initial"),
    ]

    operations = [
        migrations.RunPython(forget_steps, migrations.RunPython.noop, elidable=True),
        migrations.AddField(
            model_name="shard",
            name="step_square",
            field=models.FloatField(default=0.0, help_text="Squared L2 norm of the step in this range."),
            preserve_default=False,
        ),
    ]
