"""Hold the looks and the few lines of behaviour of the report page.

`STYLE` is the whole style sheet (light, dark, print, phone); `SCRIPT` sorts tables and offers
each figure as an SVG file, and the page reads well without it. The eight tones were searched
for distance: under normal sight and under simulated protanopia, deuteranopia and tritanopia
(Machado et al. 2009) no two are nearer than 0.1 in OKLab, in light and in dark.
"""

from typing import Final

TONES: Final = {
    "plain": "tone0",
    "plausible_only": "tone1",
    "contrastive": "tone2",
    "outcome_best_of_n": "tone3",
    "sft_control": "tone4",
    "llm2_separate": "tone5",
    "llm2_shared": "tone6",
    "llm2_vocab": "tone7",
}
"""CSS class of each method's colour."""

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #fcfbf8; --card: #ffffff; --ink: #22262b; --soft: #5b636d; --hair: #dedbd3;
  --up: #0c5aa6; --down: #b53c0a; --level: #767d86; --mark: #ffe3a3; --doubt: #e87700;
  --t0: #26222a; --t1: #8f96ad; --t2: #ab50cb; --t3: #d08c09;
  --t4: #7b2a13; --t5: #0c399f; --t6: #1f7b70; --t7: #c93d00;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1b1f23; --ink: #e9e6df; --soft: #a0a8b1; --hair: #343a41;
    --up: #6cb4f5; --down: #ff9465; --level: #98a0a9; --mark: #6a4d00; --doubt: #ff9a3c;
    --t0: #f4ffed; --t1: #a3909a; --t2: #c438bb; --t3: #f3cb30;
    --t4: #8a7021; --t5: #1f7eff; --t6: #03dcae; --t7: #f6863c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 var(--sans); font-variant-numeric: tabular-nums;
}
main { max-width: 960px; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1, h2, .lede { font-family: var(--serif); font-weight: 600; text-wrap: balance; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; }
.under { color: var(--soft); margin: 0 0 1.8rem; overflow-wrap: anywhere; }
.lede { font-size: 1.3rem; line-height: 1.45; font-weight: 400; margin: 1.2rem 0; }
.notes { color: var(--soft); padding-left: 1.2rem; max-width: 44rem; }
.notes li { margin: .25rem 0; }
.cards {
  display: grid; gap: .9rem; margin: 1.6rem 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fit, minmax(205px, 1fr));
}
.card {
  background: var(--card); border: 1px solid var(--hair); border-radius: 8px;
  padding: .9rem 1rem; border-top: 3px solid var(--level);
}
.card.up { border-top-color: var(--up); }
.card.down { border-top-color: var(--down); }
.card h3 { margin: 0; font-size: .82rem; color: var(--soft); font-weight: 600; }
.card .big { font-size: 1.7rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.3; }
.card .from { color: var(--soft); font-weight: 400; }
.card dl { margin: .3rem 0 0; font-size: .84rem; }
.card dt { color: var(--soft); margin-top: .35rem; }
.card dd { margin: 0; }
.up-text { color: var(--up); } .down-text { color: var(--down); }
.level-text { color: var(--soft); }
figure { margin: 1.2rem 0 0; }
figcaption, .caption {
  color: var(--soft); font-size: .88rem; margin: .7rem 0 0; max-width: 46rem;
}
figcaption b, .caption b { color: var(--ink); }
.panels {
  display: grid; gap: 1.6rem 2.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 370px), 1fr));
}
.wide { overflow-x: auto; }
.wide svg { min-width: 560px; max-width: 860px; }
svg { display: block; width: 100%; height: auto; overflow: visible; font-family: var(--sans); }
svg text { fill: var(--ink); font-size: 13px; }
svg .title { font-size: 14.5px; font-weight: 650; }
svg .tick { fill: var(--soft); font-size: 12px; }
svg .axis { fill: var(--soft); font-size: 12.5px; }
svg .number { font-size: 12.5px; }
svg .backed { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
svg path { fill: none; }
svg .grid { stroke: var(--hair); stroke-width: 1; }
svg .reference { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3; }
svg .zero { stroke: var(--ink); stroke-width: 1.2; }
svg .whisker { stroke: var(--tone); stroke-width: 2; }
svg .faint { stroke: var(--tone); stroke-width: 1.6; opacity: .45; }
svg .trace { stroke: var(--tone); stroke-width: 1.8; opacity: .8; }
svg .leader { stroke: var(--tone); stroke-width: .9; opacity: .6; }
svg .dot { fill: var(--tone); stroke: var(--page); stroke-width: 1.2; }
svg .dot.hollow { fill: var(--page); stroke: var(--tone); stroke-width: 2; }
svg .bar { fill: var(--tone); }
svg .toned { fill: var(--tone); font-weight: 600; }
svg .ours .label { font-weight: 650; }
.tone0 { --tone: var(--t0); } .tone1 { --tone: var(--t1); } .tone2 { --tone: var(--t2); }
.tone3 { --tone: var(--t3); } .tone4 { --tone: var(--t4); } .tone5 { --tone: var(--t5); }
.tone6 { --tone: var(--t6); } .tone7 { --tone: var(--t7); } .plainly { --tone: var(--soft); }
.up { --tone: var(--up); } .down { --tone: var(--down); } .level { --tone: var(--level); }
.save {
  font: inherit; font-size: .8rem; color: var(--soft); background: none; border: 0; padding: 0;
  margin-left: .5rem; text-decoration: underline; cursor: pointer;
}
.scroll { overflow-x: auto; margin: .8rem 0 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
thead { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink); }
tbody { border-bottom: 2px solid var(--ink); }
th, td { padding: .38rem .7rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th:first-child, td:first-child, .words { text-align: left; }
th { font-weight: 600; }
tbody tr + tr td, tbody tr + tr th { border-top: 1px solid var(--hair); }
tbody th { font-weight: 400; }
tr.ours th { font-weight: 650; }
td small { color: var(--soft); display: block; font-size: .78rem; }
td b { font-weight: 700; }
th button {
  font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
}
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--ink); }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--soft); }
pre {
  font: .8rem/1.5 var(--mono); background: var(--card); border: 1px solid var(--hair);
  border-radius: 6px; padding: .8rem 1rem; overflow-x: auto;
}
.example { border-top: 1px solid var(--hair); padding-top: 1rem; margin-top: 1.6rem; }
.example .prompt { font-family: var(--serif); font-size: 1.05rem; }
.sides { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); }
.side {
  background: var(--card); border: 1px solid var(--hair); border-radius: 8px; padding: .8rem 1rem;
}
.side h4 { margin: 0 0 .4rem; font-size: .85rem; }
.solution, .prompt { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.solution { font: .84rem/1.75 var(--mono); margin: 0; }
.solution span {
  background: color-mix(in srgb, var(--doubt) calc(var(--d, 0) * 45%), transparent);
}
.solution mark { background: var(--mark); color: inherit; border-radius: 3px; padding: .1em .15em; }
.solution s { color: var(--soft); font-size: .85em; margin-left: .3em; }
dl.terms {
  display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; font-size: .9rem;
}
dl.terms dt { font-weight: 600; }
dl.terms dd { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
@media (max-width: 600px) {
  main { padding: 1.6rem 1rem 3rem; }
  h1 { font-size: 1.6rem; } .lede { font-size: 1.12rem; }
  dl.terms { grid-template-columns: 1fr; gap: .1rem; } dl.terms dd { margin-bottom: .6rem; }
}
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; }
  figure, .card, .example, tr { break-inside: avoid; } .save { display: none; }
}
"""
"""The style sheet; no font, image or rule comes from outside the page."""

SCRIPT: Final = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const rising = head.getAttribute("aria-sort") === "descending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      const number = (a, b) => parseFloat(key(a)) - parseFloat(key(b));
      const by = head.classList.contains("words") ? order : number;
      body.append(...[...body.rows].sort((a, b) => (rising ? by(a, b) : by(b, a))));
    };
  });
}
for (const svg of document.querySelectorAll("figure svg")) {
  const save = document.createElement("button");
  save.className = "save";
  save.textContent = "save as SVG";
  save.onclick = () => {
    const copy = svg.cloneNode(true);
    const from = svg.querySelectorAll("*");
    const names = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin",
      "opacity", "paint-order", "font-family", "font-size", "font-weight"];
    copy.querySelectorAll("*").forEach((node, i) => {
      const seen = getComputedStyle(from[i]);
      for (const name of names) node.style.setProperty(name, seen.getPropertyValue(name));
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([copy.outerHTML], { type: "image/svg+xml" }));
    link.download = svg.getAttribute("aria-label").replace(/[^a-z0-9]+/gi, "_") + ".svg";
    link.click();
  };
  svg.after(save);
}
"""
"""The page's script; the page allows this text by its hash and no other."""
