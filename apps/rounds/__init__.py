"""What was sent, when: models, versions, rounds, participations, updates, and the stores that keep their bytes."""
