"""What other apps may listen to."""

from django.dispatch import Signal

# Sent in the transaction that erases a client, with `client` and `actor`: receivers erase what they hold of it. One
# that raises stops the erasure.
client_erasing = Signal()
