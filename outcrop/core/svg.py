"""Drawing in SVG: elements with everything escaped, scales, ticks, and text that fits its place."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 0.56
"""Mean advance of a sans-serif letter in em, measured generously so that text never overruns its place."""


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One element. Attribute names have _ for -, a trailing _ is dropped (class_); None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def picture(title: str, description: str, size: tuple[float, float], kind: str, *children: Markup) -> Markup:
    """A whole drawing with a title and a description for those who cannot see it. kind: its CSS class."""
    width, height = size
    head = (element("title", title), element("desc", description))
    return element(
        "svg",
        *head,
        *children,
        class_=f"plot {kind}",
        role="img",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
    )


def label(x: float, y: float, content: str, kind: str = "label", anchor: str = "start", turn: float = 0) -> Markup:
    """A line of text; turn: degrees around its anchor."""
    rotation = f"rotate({_number(turn)} {_number(x)} {_number(y)})" if turn else None
    return element("text", content, x=x, y=y, class_=kind, text_anchor=anchor, transform=rotation)


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> Markup:
    """A straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=kind)


def path(points: list[tuple[float, float] | None], kind: str) -> Markup:
    """A polyline; None breaks it."""
    steps, down = [], False
    for point in points:
        if point is not None:
            steps.append(f"{'L' if down else 'M'}{_number(point[0])} {_number(point[1])}")
        down = point is not None
    return element("path", d=" ".join(steps), class_=kind)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (min(max(value, self.low), self.high) - self.low) / span * (self.end - self.start)


@dataclass(frozen=True)
class LogScale:
    """A logarithmic map from positive values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        linear = Scale(math.log(self.low), math.log(self.high), self.start, self.end)
        return linear(math.log(max(value, self.low)))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten within [low, high]; the powers alone where that makes more than eight."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]
    return found if len(found) <= 8 else [value for value in found if math.log10(value) % 1 == 0]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within [low, high], about `wanted` of them."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick with just the digits its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else f"{0:.{digits}f}"


def text_width(text: str, size: float = 12) -> float:
    """Pixels that a text takes at most, without measuring fonts; wide characters count twice."""
    units = sum(2.0 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text)
    return units * CHARACTER * size


def fitted(text: str, pixels: float, size: float = 12) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    flat = " ".join(text.split())
    if text_width(flat, size) <= pixels:
        return flat
    while flat and text_width(flat + "…", size) > pixels:
        flat = flat[:-1]
    return flat.rstrip() + "…"


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
