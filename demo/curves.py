"""Small charts as inline SVG: a curve over rounds with two reference lines, and one bar a client.

Colours come from the page's CSS variables, so that both charts follow light and dark. Each line also differs in its
dashes and carries its name, and each chart has a title and a description for those who do not see it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 44, 142, 16, 46
BAR_HEIGHT, BAR_LEFT, BAR_RIGHT = 26, 140, 66
TICKS = 4
LABEL_GAP = 17


@dataclass(frozen=True)
class Line:
    """A named line; `style` is its CSS class. One value means a constant."""

    name: str
    style: str
    values: Sequence[float]


def nice_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that cuts `span` into about `TICKS` parts."""
    rough = span / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def ticks_between(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`; at least two, also where all values are the same."""
    step = nice_step(max(high - low, 1e-6))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def spread_labels(heights: Sequence[float]) -> list[float]:
    """Move labels down until none covers the next; the order of the heights is kept."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed, free = list(heights), -math.inf
    for index in order:
        placed[index] = max(heights[index], free)
        free = placed[index] + LABEL_GAP
    return placed


def curve(*, title: str, description: str, lines: Sequence[Line]) -> str:
    """A chart over rounds, from round 0 (the seed version) on; constants are drawn across."""
    rounds = max(len(line.values) for line in lines) - 1
    ticks = ticks_between(min(min(line.values) for line in lines), max(max(line.values) for line in lines))
    digits = max(len(f"{tick:g}".partition(".")[2]) for tick in ticks)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def x(index: int) -> float:
        return LEFT + index * (right - LEFT) / max(rounds, 1)

    def y(value: float) -> float:
        return bottom - (value - ticks[0]) * (bottom - TOP) / (ticks[-1] - ticks[0])

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.{digits}f}</text>'
        for tick in ticks
    ]
    parts += [
        f'<text class="tick" x="{x(index):.1f}" y="{bottom + 18}" text-anchor="middle">{index}</text>'
        for index in range(0, rounds + 1, max(1, rounds // 10))
    ]
    parts.append(f'<text class="tick" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">round</text>')
    heights = spread_labels([y(line.values[-1]) for line in lines])
    for line, height in zip(lines, heights, strict=True):
        values = line.values if len(line.values) > 1 else [line.values[0]] * (rounds + 1)
        points = [(x(index), y(value)) for index, value in enumerate(values)]
        parts.append(f'<polyline class="{line.style}" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in points)}"/>')
        if len(line.values) > 1:
            parts += [f'<circle class="{line.style}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in points]
        label = f"{line.name} {line.values[-1]:.3f}"
        parts.append(f'<text class="name {line.style}" x="{right + 8}" y="{height + 4:.1f}">{escape(label)}</text>')
    return svg("".join(parts), title=title, description=description, height=HEIGHT)


@dataclass(frozen=True)
class Bar:
    """One client's margin, as a share."""

    name: str
    share: float


def bars(*, title: str, description: str, entries: Sequence[Bar]) -> str:
    """One horizontal bar an entry, to the right where it gained and to the left where it lost."""
    low, high = min(0.0, *(bar.share for bar in entries)), max(0.0, *(bar.share for bar in entries))
    left = BAR_LEFT + (BAR_RIGHT if low < 0 else 0)
    unit = (WIDTH - left - BAR_RIGHT) / max(high - low, 1e-9)
    zero = left - low * unit
    height = BAR_HEIGHT * len(entries) + 8
    parts = []
    for index, bar in enumerate(entries):
        top, end = 4 + index * BAR_HEIGHT, zero + bar.share * unit
        style, anchor, shift = ("gain", "start", 6) if bar.share > 0 else ("loss", "end", -6)
        parts.append(
            f'<text class="tick" x="0" y="{top + 17}">{escape(bar.name)}</text>'
            f'<rect class="{style}" x="{min(zero, end):.1f}" y="{top + 4}" width="{max(abs(end - zero), 1):.1f}" '
            f'height="{BAR_HEIGHT - 9}" rx="2"/>'
            f'<text class="value" x="{end + shift:.1f}" y="{top + 17}" text-anchor="{anchor}">{bar.share:+.1%}</text>'
        )
    parts.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height}"/>')
    return svg("".join(parts), title=title, description=description, height=height)


def svg(body: str, *, title: str, description: str, height: int) -> str:
    """A drawing with its title and description, scaled to the page's width."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}. {escape(description)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )
