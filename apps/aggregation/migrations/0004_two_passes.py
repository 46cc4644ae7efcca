from django.db import migrations, models


class Migration(migrations.Migration):
    """A run may measure the geometry of its members before it decides."""

    dependencies = [("aggregation", "0003_shards_hold_weights")]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="decision",
            field=models.JSONField(
                help_text="Membership, order, weights and rule: all that a replay needs. None while its geometry is measured.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="shard",
            name="phase",
            field=models.CharField(
                choices=[("measure", "measure"), ("combine", "combine")], default="combine", max_length=8
            ),
        ),
        migrations.AddField(
            model_name="shard",
            name="state_sha256",
            field=models.JSONField(default=dict, help_text="The digest of each vector of the optimizer's new state."),
        ),
        migrations.AlterField(
            model_name="shard",
            name="step_square",
            field=models.FloatField(default=0.0, help_text="Squared L2 norm of the step in this range."),
        ),
        migrations.RemoveConstraint(model_name="shard", name="shard_written_once"),
        migrations.AddConstraint(
            model_name="shard",
            constraint=models.UniqueConstraint(fields=("run", "phase", "number"), name="shard_written_once"),
        ),
        migrations.AlterModelOptions(name="shard", options={"ordering": ["run", "phase", "number"]}),
    ]
