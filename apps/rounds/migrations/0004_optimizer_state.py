from django.db import migrations, models


class Migration(migrations.Migration):
    """The state of the server optimizer belongs to a version."""

    dependencies = [("rounds", "0003_verdicts")]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="optimizer",
            field=models.CharField(default="none", help_text="Whose state belongs to it.", max_length=64),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="state_sha256",
            field=models.CharField(blank=True, db_index=True, max_length=64),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="state_bytes",
            field=models.PositiveBigIntegerField(default=0),
        ),
    ]
