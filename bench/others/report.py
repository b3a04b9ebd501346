"""What was measured, as JSON, as a table, and as the docs' own table and picture.

Never: a figure of its own; all are medians of the rounds. Bounds: in the docs it writes between its
two marks and nowhere else.
"""

import json
import statistics
import textwrap

from others import plot
from others.common import ROOT, Failed

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
PLOTTED = ("uniform", "hot")
ALT = "Durable transfers a second against clients at once, uniform and hot, for each system"


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def save(results, path):
    text = json.dumps(results, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def medians(results, field):
    """(system, scenario) -> {clients: the median of the rounds}."""
    table = {}
    for point in results["points"]:
        values = [told[field] for told in point["rounds"] if told[field] is not None]
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
            cells = " | ".join(number(line.get(count)) for count in clients)
            tail = number(tails.get((system, scenario), {}).get(most), 1)
            lines.append(f"| {system} | {scenario} | {cells} | {tail} |")
    return "\n".join([*lines, *_batches(rates), "", *_notes(results)])


def _batches(rates):
    batches = [(key, line) for key, line in rates.items() if key[1] not in PLOTTED]
    if not batches:
        return []
    return ["", "| in batches | | transfers a second |", "|---|---|---:|",
            *(f"| {system} | {scenario} | {number(max(line.values()))} |"
              for (system, scenario), line in batches)]


def headline(results):
    """Markdown for the README: the most clients alone, and batches."""
    rates = medians(results, "rate")
    most = max(results["settings"]["clients"])
    lines = [f"| {most} clients, transfers a second | uniform | hot |", "|---|---:|---:|"]
    for system in results["systems"]:
        pair = [rates.get((system, scenario), {}).get(most) for scenario in PLOTTED]
        if any(pair):
            lines.append(f"| {system} | " + " | ".join(number(rate) for rate in pair) + " |")
    return "\n".join([*lines, *_batches(rates)])


def _notes(results):
    machine, settings = results["machine"], results["settings"]
    rounds = f"Medians of {settings['rounds']} rounds" if settings["rounds"] > 1 else "One round"
    syncs = statistics.median(results["syncs_per_second"])
    notes = [
        f"{machine['date']}, commit `{machine['commit']}`: {machine['processors']} processors "
        f"({machine['processor']}), {machine['memory_gib']} GiB, {machine['file_system']}, Linux "
        f"{machine['kernel']}, the load generators on the same processors. {rounds} of "
        f"{settings['seconds']} s. {number(settings['wallets'])} wallets; "
        f"TPC-B at scale {settings['tpcb_scale']}, hot at scale 1. Meanwhile the disk alone made "
        f"{number(syncs)} syncs a second, one after another.",
        "",
        "| durable how | systems |",
        "|---|---|",
    ]
    alike = {}
    for name, told in results["systems"].items():
        alike.setdefault(told["durability"], []).append(f"{name} ({told['about']})")
    notes += [f"| {how} | {'; '.join(names)} |" for how, names in alike.items()]
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
    notes.append("\nAfter every run the sums were what they had to be, nobody was below zero where a balance "
                 "is checked, and as many transfers were recorded as had been acknowledged"
                 + (f"; {refused} requests were refused because their wallets stayed locked." if refused
                    else "; no request was refused."))
    return [wrapped(note) for note in notes]


def wrapped(note):
    """Lines as long as those of the docs; a table's row stays one."""
    return note if note.startswith("|") else "\n".join(
        textwrap.fill(line, 120, break_long_words=False, break_on_hyphens=False)
        for line in note.split("\n"))


def replace(page, name, text):
    """Puts the text between the two marks of this name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1:
        raise Failed(f"{page} has not got each mark once: {begin} {end}")
    before, rest = old.split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def publish(results):
    """The tables between the marks of docs/performance.md and the README, and the picture."""
    replace(PAGE, "compare", f"![{ALT}]({PICTURE.name})\n\n{table(results)}")
    replace(ROOT / "README.md", "compare", headline(results))
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


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")
