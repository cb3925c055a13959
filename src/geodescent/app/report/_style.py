"""The stylesheet of the page: one column, fonts of the reader's system, colours with contrast, and paper."""

from geodescent.pictures import BLUE, FAINT, INK

PAGE_STYLE = f"""
:root {{ color-scheme: light; --ink: {INK}; --muted: #5c6670; --line: {FAINT}; --blue: {BLUE}; --wash: #f5f7f9; }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0; background: #fff; color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial,
  sans-serif; }}
main {{ max-width: 45rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }}
.eyebrow {{ margin: 0; color: var(--muted); font-size: .875rem; }}
h1 {{ margin: .15rem 0 1rem; font-size: 2rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; }}
h2 {{ margin: 3rem 0 .75rem; font-size: 1.25rem; line-height: 1.3; font-weight: 650; letter-spacing: -.005em; }}
p, ul {{ margin: 0 0 1rem; }}
ul {{ padding-left: 1.2rem; }}
li {{ margin-bottom: .3rem; }}
.story {{ font-size: 1.0625rem; }}
.verdict {{ margin: 1.25rem 0; padding: .75rem 1rem; border-left: 4px solid var(--blue); background: var(--wash);
  font-weight: 550; }}
.verdict p {{ margin: 0; }}
.numbers {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem 1.5rem;
  margin: 1.5rem 0; }}
.numbers div {{ border-top: 1px solid var(--line); padding-top: .6rem; }}
.numbers dt {{ color: var(--muted); font-size: .875rem; line-height: 1.4; }}
.numbers dd {{ margin: 0; font-size: .875rem; line-height: 1.45; }}
.numbers dd.value {{ font-size: 1.75rem; line-height: 1.35; font-weight: 600; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }}
figure {{ margin: 1.5rem 0; }}
figure svg {{ display: block; width: 100%; max-width: 40rem; height: auto; margin: 0 auto; }}
figure svg * {{ stroke-linejoin: round; stroke-linecap: butt; }}
figure svg text {{ font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
  "Liberation Sans", Arial, sans-serif !important; white-space: pre; }}
figcaption {{ margin-top: .5rem; color: var(--muted); font-size: .875rem; line-height: 1.5; }}
table {{ width: 100%; border-collapse: collapse; font-size: .9rem; line-height: 1.45;
  font-variant-numeric: tabular-nums; }}
.wide {{ margin: 1rem 0 1.25rem; overflow-x: auto; }}
th, td {{ padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-weight: 400; min-width: 4.5rem; }}
th:last-child, td:last-child {{ padding-right: 0; }}
thead th {{ color: var(--muted); font-size: .8125rem; vertical-align: bottom; }}
tbody tr:last-child > * {{ border-bottom-color: var(--muted); }}
tbody th {{ min-width: 7rem; }}
.number {{ text-align: right; min-width: 0; overflow-wrap: normal; }}
td.number {{ white-space: nowrap; }}
.run {{ font-weight: 650; }}
code {{ font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; background: var(--wash);
  padding: .1em .3em; border-radius: 3px; }}
dl.told {{ display: grid; grid-template-columns: minmax(5.5rem, max-content) 1fr; gap: .35rem 1.25rem;
  margin: 0 0 1rem; }}
dl.told dt {{ color: var(--muted); }}
dl.told dd {{ margin: 0; }}
footer {{ margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--muted);
  font-size: .8125rem; }}
@media (max-width: 34rem) {{
  main {{ padding: 1.5rem 1rem 3rem; }}
  h1 {{ font-size: 1.625rem; }}
  h2 {{ margin-top: 2.25rem; }}
  .numbers {{ grid-template-columns: 1fr; gap: .75rem; }}
  th, td {{ padding-right: .5rem; }}
  table {{ font-size: .8125rem; }}
  thead th {{ font-size: .75rem; }}
  dl.told {{ grid-template-columns: 1fr; gap: 0; }}
  dl.told dd {{ margin-bottom: .6rem; }}
}}
@page {{ margin: 18mm 16mm; }}
@media print {{
  html {{ font-size: 10pt; }}
  body {{ line-height: 1.45; }}
  main {{ max-width: none; padding: 0; }}
  h2 {{ margin-top: 2rem; }}
  .verdict, code, figure svg * {{ -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
  .numbers {{ grid-template-columns: repeat(3, 1fr); }}
  figure svg {{ max-width: 135mm; }}
  figure, .numbers, .verdict, tr {{ break-inside: avoid; }}
  h1, h2, thead {{ break-after: avoid; }}
  .wide {{ overflow: visible; }}
  p {{ orphans: 3; widows: 3; }}
}}
"""
"""Sizes are in rem and so follow the reader's font size; colours are those of the pictures."""
