from collections import Counter
from random import Random

import numpy as np
import pytest

from demo import market, shares


def test_the_same_seed_gives_the_same_shares(days, twelve):
    again = shares.make_shares(days, clients=12, seed=7)
    assert [share.symbols for share in again] == [share.symbols for share in twelve]
    assert all(np.array_equal(a.train.X, b.train.X) for a, b in zip(again, twelve, strict=True))


def test_another_seed_gives_other_shares(days, twelve):
    other = shares.make_shares(days, clients=12, seed=8)
    assert [share.symbols for share in other] != [share.symbols for share in twelve]


def test_the_four_kinds_take_turns(twelve):
    assert Counter(share.kind for share in twelve) == dict.fromkeys(
        ("broker_adapter", "edge_node", "partner_firm", "user_device"), 3
    )


def test_names_are_unique(twelve):
    assert len({share.name for share in twelve}) == 12


def test_most_symbols_of_a_client_are_of_its_sector(days, twelve):
    sectors = dict(zip(days["symbol"], days["sector"], strict=True))
    for share in twelve:
        at_home = sum(sectors[symbol] == share.sector for symbol in share.symbols)
        assert at_home / len(share.symbols) > 0.5
        assert at_home == len(share.symbols) - len(share.symbols) // shares.OTHER_SECTOR_ONE_IN


@pytest.mark.parametrize("kind", shares.KINDS, ids=lambda kind: kind.name)
def test_a_share_is_as_large_as_its_kind_says(days, kind):
    share = shares.make_share(
        market.training_days(days), market.test_days(days), kind, "Energy", index=0, random=Random(3)
    )
    assert kind.symbols[0] <= len(share.symbols) <= kind.symbols[1]
    assert kind.days[0] <= len(share.train) / len(share.symbols) <= kind.days[1]


def test_clients_differ_in_what_they_see(twelve):
    means = [share.train.month.mean() for share in twelve]
    assert max(means) - min(means) > 0.5


def test_a_client_is_scored_on_its_own_symbols(days, twelve):
    test = market.test_days(days)
    assert all(len(share.test) == test["symbol"].isin(share.symbols).sum() > 0 for share in twelve)
