"""What was measured, as JSON, as a table, and as the docs' own table and picture.

Never: a figure of its own; all are medians of the rounds. Bounds: in the docs it writes between its
two marks and nowhere else.
"""

import json
import math
import statistics

from others import plot
from others.common import ROOT, Failed

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
PLOTTED = ("uniform", "hot")


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def save(results, path):
    text = json.dumps(results, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def medians(results, field):
    """(system, scenario) -> {clients: the median of the rounds}."""
    table = {}
    for point in results["points"]:
        values = [told[field] for told in point["rounds"] if not math.isnan(told[field])]
        if values:
            key = (point["system"], point["scenario"])
            table.setdefault(key, {})[point["clients"]] = statistics.median(values)
    return table


def table(results):
    """Markdown: single requests, then what comes in batches, then what is to be said of both."""
    clients = results["settings"]["clients"]
    rates, tails = medians(results, "rate"), medians(results, "p99_ms")
    most = max(clients)
    counts = " | ".join(f"{count} client{'s' * (count > 1)}" for count in clients)
    lines = [
        f"| transfers a second | | {counts} | p99 with {most}, ms |",
        "|---|---|" + "---:|" * (len(clients) + 1),
    ]
    for (system, scenario), line in rates.items():
        if scenario in PLOTTED:
            cells = " | ".join(_number(line.get(count)) for count in clients)
            tail = _number(tails.get((system, scenario), {}).get(most), 1)
            lines.append(f"| {system} | {scenario} | {cells} | {tail} |")
    batches = [(key, line) for key, line in rates.items() if key[1] not in PLOTTED]
    if batches:
        lines += ["", "| in batches | | transfers a second |", "|---|---|---:|"]
        lines += [f"| {system} | {scenario} | {_number(max(line.values()))} |"
                  for (system, scenario), line in batches]
    return "\n".join([*lines, "", *_notes(results)])


def _notes(results):
    machine, settings = results["machine"], results["settings"]
    syncs = statistics.median(results["syncs_per_second"])
    notes = [
        f"{machine['date']}, commit `{machine['commit']}`: {machine['processors']} processors "
        f"({machine['processor']}), {machine['memory_gib']} GiB, {machine['file_system']}, Linux "
        f"{machine['kernel']}, the load generators on the same processors. Medians of "
        f"{settings['rounds']} rounds of {settings['seconds']} s. {_number(settings['wallets'])} wallets; "
        f"TPC-B at scale {settings['tpcb_scale']}, hot at scale 1. Meanwhile the disk alone made "
        f"{_number(syncs)} syncs a second, one after another.",
        "",
        "| system | version | durable how |",
        "|---|---|---|",
    ]
    notes += [f"| {name} | {told['about']} | {told['durability']} |"
              for name, told in results["systems"].items()]
    sizes = [f"{name} {told['bytes_each']:.0f}" for name, told in results["systems"].items()
             if told.get("bytes_each")]
    if sizes:
        notes += ["", "Bytes a transfer, rows and indexes: " + "; ".join(sizes) + "."]
    shown = results.get("demonstration")
    if shown:
        notes += ["", f"A worker that dies holding flags: {shown['workers_killed']} workers killed under "
                  f"load left {shown['wallets_left_locked']} wallets locked, with no request under way. "
                  f"Asked to pay after that, the hot wallet answers {shown['then_hot_wallet_pays']}: "
                  f"`{shown['answer'].get('error', 'OK')}`."]
    notes += [f"\nSKIPPED: {name}: {why}." for name, why in results["skipped"].items()]
    refused = sum(told["errors"] for point in results["points"] for told in point["rounds"])
    notes.append("\nAfter every run the sum over all wallets was unchanged, nobody was below zero, and as "
                 "many transfers were recorded as had been acknowledged"
                 + (f"; {refused} requests were refused because their wallets stayed locked." if refused
                    else "; no request was refused."))
    return notes


def publish(results):
    """The table between the marks of docs/performance.md, and the picture beside it."""
    page = PAGE.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise Failed(f"{PAGE} has not got each mark once: {BEGIN} {END}")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")
    rates = medians(results, "rate")
    panels = {
        title: {system: line for (system, scenario), line in rates.items() if scenario == name}
        for name, title in (("uniform", "Uniform: random pairs of wallets"),
                            ("hot", "Hot: one wallet in every transfer"))
    }
    machine = results["machine"]
    PICTURE.write_text(plot.draw(
        "Durable transfers a second, one a request",
        f"{machine['processors']} processors, load included; a commit on the disk before each answer. "
        "Both scales are logarithmic.",
        {title: lines for title, lines in panels.items() if lines},
        results["settings"]["clients"],
    ), encoding="utf-8")


def _number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")
