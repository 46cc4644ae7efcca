"""What the rounds app tells the apps above it."""

from django.dispatch import Signal

# Sent inside the transaction that erases updates, with `update_ids`. Receivers erase what they hold about them; one
# that fails undoes the erasure.
updates_erasing = Signal()
