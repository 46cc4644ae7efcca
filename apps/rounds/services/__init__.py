"""What the rounds app can do. Views, tasks, admin and commands make one call into one of these functions."""

from apps.rounds.services.erasure import erase_leftovers
from apps.rounds.services.freezing import abandon_round
from apps.rounds.services.gates import GateRequest, remove_gate, set_gate
from apps.rounds.services.inbox import sweep_inbox
from apps.rounds.services.ingest import process_update
from apps.rounds.services.key_rotation import destroy_retired_keys, rotate_encryption_key, rotate_signing_key
from apps.rounds.services.leases import try_again
from apps.rounds.services.lifecycle import advance_round, seal_round
from apps.rounds.services.opening import open_round, open_rounds_due
from apps.rounds.services.participation import join_round
from apps.rounds.services.promotion import promote, roll_back
from apps.rounds.services.registry import ModelRequest, change_policy, change_schedule, create_model
from apps.rounds.services.shredding import shred_old_rounds, sweep_scratch
from apps.rounds.services.uploads import Upload, accept_update
from apps.rounds.services.verdicts import judge_again, judge_candidate

__all__ = [
    "GateRequest",
    "ModelRequest",
    "Upload",
    "abandon_round",
    "accept_update",
    "advance_round",
    "change_policy",
    "change_schedule",
    "create_model",
    "destroy_retired_keys",
    "erase_leftovers",
    "join_round",
    "judge_again",
    "judge_candidate",
    "open_round",
    "open_rounds_due",
    "process_update",
    "promote",
    "remove_gate",
    "roll_back",
    "rotate_encryption_key",
    "rotate_signing_key",
    "seal_round",
    "set_gate",
    "shred_old_rounds",
    "sweep_inbox",
    "sweep_scratch",
    "try_again",
]
