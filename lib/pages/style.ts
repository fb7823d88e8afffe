/** The style of the page at `/live`. The colours that the charts use too are custom properties. */
export const style = `
:root {
  color-scheme: light dark;
  font: 16px/1.45 system-ui, sans-serif;
  --page: #f6f7f9; --panel: #fff; --text: #17202c; --muted: #5a6675; --line: #e1e5eb; --focus: #1a5fd0;
  --p50: #00866a; --p90: #1a66cc; --p99: #b35c00; --rate: #54709a; --rate-fill: #54709a26; --error: #c8243f;
  --heat-few: #dbe7f8; --heat-many: #0c3c86;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f141b; --panel: #171e27; --text: #e6ebf2; --muted: #98a5b5; --line: #29323e; --focus: #7fb0ff;
    --p50: #3fcfa8; --p90: #7fb0ff; --p99: #ffad5c; --rate: #8fa6c7; --rate-fill: #8fa6c733; --error: #ff7a8c;
    --heat-few: #1d2f4b; --heat-many: #b9d6ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); }
header, main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; padding-top: 1rem; padding-bottom: .25rem; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1rem; margin: 0; }
p { margin: 0; }
a { color: inherit; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
[hidden] { display: none !important; }

select, button { font: inherit; font-size: .875rem; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; min-height: 2rem; padding: .2rem .7rem; }
button { cursor: pointer; }
select { max-width: 100%; font-family: ui-monospace, monospace; }
.histogram { min-width: 0; }
#state { flex: 1; color: var(--muted); font-size: .875rem; }
#state::before { content: ""; display: inline-block; width: .55rem; height: .55rem; margin-right: .45rem; border-radius: 50%; background: var(--muted); }
#state[data-state=live]::before { background: var(--p50); }
#state[data-state=lost] { color: var(--error); }
#state[data-state=lost]::before { background: var(--error); }
#pause { min-width: 5.5rem; }

.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem; margin: .75rem 0; color: var(--muted); font-size: .875rem; min-height: 2rem; }
fieldset { display: flex; align-items: center; border: 0; margin: 0; padding: 0; }
legend { float: left; padding: 0 .75rem 0 0; color: var(--text); font-weight: 600; }
fieldset label { cursor: pointer; }
fieldset input { position: absolute; opacity: 0; }
fieldset span { display: block; padding: .2rem .7rem; border: 1px solid var(--line); margin-left: -1px; background: var(--panel); color: var(--text); }
fieldset label:first-of-type span { border-radius: .4rem 0 0 .4rem; }
fieldset label:last-of-type span { border-radius: 0 .4rem .4rem 0; }
fieldset input:checked + span { background: var(--text); color: var(--panel); }
fieldset input:focus-visible + span { outline: 2px solid var(--focus); outline-offset: 2px; position: relative; }

dl { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .75rem; margin: 0; }
dl div, figure, .table, .notes { background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; }
dl div { padding: .7rem 1rem; min-width: 0; }
dt { font-weight: 600; font-size: .875rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
dt span { font-weight: 400; color: var(--muted); }
dd { margin: 0; }
data { display: block; font-size: 1.75rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
#errors data, #aborted data, #rejected data, #in-flight data { font-size: 1.25rem; }
small { display: block; min-height: 1.3em; font-size: .8125rem; line-height: 1.3; color: var(--muted); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#p50 dt::before, #p90 dt::before, #p99 dt::before, .keys span::before {
  content: ""; display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .4rem; background: var(--key);
}
[data-key=p50], #p50 { --key: var(--p50); }
[data-key=p90], #p90 { --key: var(--p90); }
[data-key=p99], #p99 { --key: var(--p99); }
[data-key=rate] { --key: var(--rate); }
[data-key=error] { --key: var(--error); }
.some data { color: var(--error); }

.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; margin: .75rem 0; }
figure { margin: 0; padding: .7rem 1rem .4rem; min-width: 0; }
#heat { grid-row: span 2; display: flex; flex-direction: column; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; margin-bottom: .3rem; font-size: .8125rem; color: var(--muted); }
figcaption h2 { color: var(--text); font-size: .875rem; }
.keys { display: flex; gap: .9rem; font-variant-numeric: tabular-nums; }
.keys { align-items: baseline; }
.keys span { white-space: nowrap; }
.keys b { display: inline-block; min-width: 4.6rem; color: var(--text); font-weight: 600; }
.scale { display: inline-block; width: 3rem; height: .7rem; border-radius: .15rem; vertical-align: -.05rem; margin: 0 .3rem; background: linear-gradient(to right, var(--heat-few), var(--heat-many)); }
.plot { height: 10rem; border-radius: .3rem; }
#empty { padding: .5rem 1rem .8rem; color: var(--muted); font-size: .875rem; }
#heat figcaption data { display: inline-block; min-width: 2.6rem; font: inherit; }
#heat .plot { flex: 1; min-height: 20rem; }

.table { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .7rem 1rem .3rem; }
th, td { padding: .35rem 1rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; padding: .1rem .4rem; color: var(--muted); font-weight: 400; }
thead button { border: 0; background: none; padding: .1rem .6rem; min-height: 1.8rem; }
thead button::after { content: "↕"; opacity: .35; margin-left: .3rem; }
thead [aria-sort=ascending] button::after { content: "↑"; opacity: 1; }
thead [aria-sort=descending] button::after { content: "↓"; opacity: 1; }
th.text, td.text { text-align: left; }
tbody th { font-weight: 400; }
tbody th.text { font-family: ui-monospace, monospace; font-size: .8125rem; }
tbody tr { cursor: pointer; }
tbody tr:hover, tbody tr.chosen { background: var(--page); }
tbody tr.chosen th { box-shadow: inset .25rem 0 var(--rate); }
tbody button { all: unset; }
#chosen { margin-top: .75rem; font-size: .875rem; color: var(--muted); }
tbody tr.idle { color: var(--muted); }
td.some { color: var(--error); font-weight: 600; }

.notes { margin: .75rem 0; padding: .9rem 1rem; font-size: .875rem; color: var(--muted); }
.notes h2 { color: var(--text); font-size: .875rem; }
.notes p { max-width: 65rem; margin-top: .4rem; }
.notes strong { color: var(--text); }
footer { padding-bottom: 1.5rem; font-size: .8125rem; color: var(--muted); }

.uplot { font-family: inherit; }
.u-cursor-x { border-color: var(--muted) !important; }

@media (max-width: 56rem) {
  .charts { grid-template-columns: minmax(0, 1fr); }
  #quantiles { order: -1; }
  #heat .plot { min-height: 15rem; }
}
@media (max-width: 40rem) {
  header, main, footer { padding-left: .75rem; padding-right: .75rem; }
  #state { order: 4; flex: none; width: 100%; }
  #pause { margin-left: auto; }
  .histogram { order: 3; width: 100%; }
  dl { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .5rem; }
  dl div { padding: .55rem .75rem; }
  dt span { display: block; font-size: .75rem; overflow: hidden; text-overflow: ellipsis; }
  data { font-size: 1.4rem; }
  .charts { gap: .5rem; margin: .5rem 0; }
  figure { padding: .55rem .75rem .3rem; }
  .keys { gap: .6rem; }
  .keys b { min-width: 3.6rem; }
  th, td { padding: .35rem .6rem; }
}
`

/** The icon of the page, a small heat map. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#12305f"/>
<path fill="#b9d6ff" d="M3 10h3v3H3zm3.5 0h3v3h-3zM10 6.500h3v3h-3z"/><path fill="#4f86d6" d="M10 10h3v3h-3zM6.500 6.500h3v3h-3zM10 3h3v3h-3z"/></svg>
`
