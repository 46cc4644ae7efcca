"""PostgreSQL refuses to change or delete what is in the log.

The table's owner can drop the trigger: it stops mistakes. What stops an owner is a checkpoint in somebody else's hands.
"""

from django.db import migrations

REFUSE = """
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_log_is_append_only
    BEFORE DELETE OR UPDATE OF id, type, actor, subject, round, leaf, created_at ON audit_logentry
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
"""

ALLOW = """
DROP TRIGGER audit_log_is_append_only ON audit_logentry;
DROP FUNCTION audit_log_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunSQL(REFUSE, ALLOW)]
