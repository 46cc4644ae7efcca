"""Who holds which part of the market: seeded, non-IID shares for the demo's clients.

Each client sees mostly one sector, few symbols and one stretch of days, as a real participant would: a private trader
follows three or four names for a month or two, a firm follows twice as many for a quarter or more. The ranges below
come from that picture alone; none was chosen by looking at a test score. A quarter of a client's symbols come from
other sectors.

A client only picks symbols that were listed on the last day of its stretch, which it could know then; what happened to
them later does not enter. It is scored on its own symbols after `market.TEST_STARTS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pandas as pd

from demo import market

OTHER_SECTOR_ONE_IN = 4
SMALLEST_SECTOR = 20  # symbols; a smaller sector would hand the same names to everyone


@dataclass(frozen=True)
class Kind:
    """How much of the market one kind of client sees; both ranges inclusive."""

    name: str
    symbols: tuple[int, int]
    days: tuple[int, int]


KINDS = (
    Kind("broker_adapter", symbols=(5, 8), days=(40, 60)),
    Kind("edge_node", symbols=(4, 6), days=(30, 50)),
    Kind("partner_firm", symbols=(6, 8), days=(60, 80)),
    Kind("user_device", symbols=(3, 4), days=(25, 40)),
)


@dataclass(frozen=True)
class Share:
    """What one client holds, and what it is scored on."""

    name: str
    kind: str
    sector: str
    symbols: tuple[str, ...]
    train: market.Rows
    test: market.Rows


def make_shares(days: pd.DataFrame, *, clients: int, seed: int) -> tuple[Share, ...]:
    """The shares of `clients` clients, kinds in turn; the same seed gives the same shares."""
    random = Random(seed)
    training, test = market.training_days(days), market.test_days(days)
    sectors = large_sectors(training)
    random.shuffle(sectors)
    return tuple(
        make_share(training, test, KINDS[index % len(KINDS)], sectors[index % len(sectors)], index=index, random=random)
        for index in range(clients)
    )


def make_share(
    training: pd.DataFrame, test: pd.DataFrame, kind: Kind, sector: str, *, index: int, random: Random
) -> Share:
    """Draw one client's stretch of days, then its symbols."""
    stretch = draw_stretch(sorted(training["date"].unique()), random.randint(*kind.days), random)
    mine = training[training["date"].isin(stretch)]
    listed = mine[mine["date"] == stretch[-1]]
    symbols = draw_symbols(listed, sector, random.randint(*kind.symbols), random)
    return Share(
        name=f"{kind.name.replace('_', '-')}-{index + 1:02}",
        kind=kind.name,
        sector=sector,
        symbols=symbols,
        train=market.rows(mine[mine["symbol"].isin(symbols)]),
        test=market.rows(test[test["symbol"].isin(symbols)]),
    )


def draw_stretch(calendar: Sequence[pd.Timestamp], length: int, random: Random) -> Sequence[pd.Timestamp]:
    """Some consecutive market days."""
    start = random.randint(0, len(calendar) - length)
    return calendar[start : start + length]


def draw_symbols(listed: pd.DataFrame, sector: str, count: int, random: Random) -> tuple[str, ...]:
    """Symbols of one sector, but for a quarter that come from anywhere else."""
    home = sorted(listed.loc[listed["sector"] == sector, "symbol"])
    elsewhere = sorted(listed.loc[listed["sector"] != sector, "symbol"])
    strangers = count // OTHER_SECTOR_ONE_IN
    return tuple(random.sample(home, count - strangers) + random.sample(elsewhere, strangers))


def large_sectors(training: pd.DataFrame) -> list[str]:
    """The named sectors with enough symbols to choose from."""
    sizes = training.groupby("sector")["symbol"].nunique()
    return sorted(name for name, size in sizes.items() if size >= SMALLEST_SECTOR and name != "unknown")
