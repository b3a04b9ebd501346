"""The picture: rate against clients, uniform beside hot, both scales logarithmic.

Never: a figure that is not in the results, or a library. Bounds: as many systems as there are
colours.
"""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1140, 480
TOP, BOTTOM, LEFT, PANEL, BETWEEN = 84, 70, 70, 320, 56
# Of Okabe and Ito: told apart by people who see few colours too, and by their marks.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#56b4e9", "#cc79a7", "#000000")
MARKS = ("circle", "square", "diamond", "triangle", "cross", "pointer")
LABEL_APART = 17


def draw(title, note, panels, clients):
    """`panels`: name -> {system: {clients: rate}}; the SVG as text."""
    # A logarithmic scale has no place for nothing.
    panels = {name: {system: {count: rate for count, rate in line.items() if rate > 0}
                     for system, line in lines.items()} for name, lines in panels.items()}
    panels = {name: {system: line for system, line in lines.items() if line}
              for name, lines in panels.items()}
    rates = [rate for lines in panels.values() for line in lines.values() for rate in line.values()]
    low = 10 ** math.floor(math.log10(min(rates)))
    high = 10 ** math.ceil(math.log10(max(rates)))
    systems = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" font-family="system-ui, sans-serif" '
        'font-size="13" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 28, title, size=17, weight=600),
        _text(LEFT, 48, note, fill="#555"),
    ]
    for index, (name, lines) in enumerate(panels.items()):
        scale = _Scale(LEFT + index * (PANEL + BETWEEN), clients, low, high)
        parts += _grid(scale, name, index == 0)
        for system, line in lines.items():
            number = systems.index(system)
            parts += _line(scale, line, COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)])
        if index == len(panels) - 1:
            parts += _labels(scale, lines, systems)
    return "\n".join([*parts, "</svg>", ""])


class _Scale:
    def __init__(self, left, clients, low, high):
        self.left, self.clients, self.low, self.high = left, clients, low, high

    def x(self, count):
        first, last = math.log2(self.clients[0]), math.log2(self.clients[-1])
        share = (math.log2(count) - first) / (last - first) if last > first else 0.5
        return self.left + 14 + share * (PANEL - 28)

    def y(self, rate):
        share = math.log10(rate / self.low) / math.log10(self.high / self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _text(x, y, words, anchor="start", size=13, weight=400, fill="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}" fill="{fill}">{escape(words)}</text>')


def _grid(scale, name, is_first):
    parts = [_text(scale.left, TOP - 12, name, weight=600)]
    rate = scale.low
    while rate <= scale.high:
        y = scale.y(rate)
        parts.append(f'<line x1="{scale.left}" x2="{scale.left + PANEL}" y1="{y:.1f}" y2="{y:.1f}" '
                     'stroke="#ddd"/>')
        if is_first:
            parts.append(_text(scale.left - 8, y + 4, f"{rate:,}".replace(",", " "), "end",
                               fill="#555"))
        rate *= 10
    for count in scale.clients:
        parts.append(_text(scale.x(count), HEIGHT - BOTTOM + 22, str(count), "middle", fill="#555"))
    middle = scale.left + PANEL / 2
    parts.append(_text(middle, HEIGHT - BOTTOM + 44, "clients at once", "middle", fill="#555"))
    return parts


def _line(scale, line, colour, mark):
    points = [(scale.x(count), scale.y(rate)) for count, rate in sorted(line.items())]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>',
            *(_mark(x, y, colour, mark) for x, y in points)]


def _mark(x, y, colour, mark):
    if mark == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    corners = {
        "square": [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        "diamond": [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)],
        "triangle": [(0, -5.5), (5, 4), (-5, 4)],
        "pointer": [(0, 5.5), (5, -4), (-5, -4)],
        "cross": [(-5, -2), (-2, -2), (-2, -5), (2, -5), (2, -2), (5, -2),
                  (5, 2), (2, 2), (2, 5), (-2, 5), (-2, 2), (-5, 2)],
    }[mark]
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{path}" fill="{colour}"/>'


def _labels(scale, lines, systems):
    """Each line's name at its end, pushed down where two would lie on each other."""
    ends = sorted((scale.y(line[max(line)]), name, line[max(line)]) for name, line in lines.items())
    parts, below = [], -math.inf
    for y, name, rate in ends:
        y = max(y, below + LABEL_APART)
        below = y
        colour = COLOURS[systems.index(name) % len(COLOURS)]
        figure = f"{rate:,.0f}".replace(",", " ")
        parts.append(_text(scale.left + PANEL + 10, y + 4, f"{name}: {figure}", weight=600,
                           fill=colour))
    return parts
