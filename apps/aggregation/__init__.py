"""What came out: runs, publication, the tick and the reconciler."""
