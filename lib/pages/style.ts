/**
 * The style of the page at `/live`. The colours that the charts use too are custom properties. The last rules are those
 * that uPlot needs; most of its own style sheet is about its legend, which the page does not have.
 */
export const style = `
:root {
  color-scheme: light dark;
  font: 16px/1.45 system-ui, sans-serif;
  --page: #f6f7f9; --panel: #fff; --text: #17202c; --muted: #5a6675; --line: #e1e5eb; --focus: #1a5fd0;
  --p50: #00866a; --p90: #1450b4; --p99: #b35c00; --rate: #54709a; --rate-fill: #54709a26; --error: #b8203a;
  --status-5: #b8203a; --status-4: #a06000; --aborted: #7a3fb5; --rejected: #2f6f8f; --mark: #b8203a55;
  --heat: #0c3c86;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f141b; --panel: #171e27; --text: #e6ebf2; --muted: #98a5b5; --line: #29323e; --focus: #7fb0ff;
    --p50: #52dcb6; --p90: #6f9dff; --p99: #ffad5c; --rate: #8fa6c7; --rate-fill: #8fa6c733; --error: #ff7a8c;
    --status-5: #ff7a8c; --status-4: #f0b429; --aborted: #b58cff; --rejected: #92dcf5; --mark: #ff7a8c66;
    --heat: #b9d6ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; font-size: .875rem; background: var(--page); color: var(--text); }
header, main, footer { max-width: 110rem; margin: 0 auto; padding: 0 1.25rem; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; padding-top: 1rem; padding-bottom: .25rem; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: inherit; margin: 0; }
p { margin: 0; }
a { color: inherit; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
[hidden] { display: none !important; }

select, button { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; min-height: 2rem; padding: .2rem .7rem; }
button { cursor: pointer; }
select { max-width: 100%; font-family: ui-monospace, monospace; }
#state { flex: 1; color: var(--muted); }
#clock { color: var(--muted); font-variant-numeric: tabular-nums; white-space: nowrap; }
#state::before { content: ""; display: inline-block; width: .55rem; height: .55rem; margin-right: .45rem; border-radius: 50%; background: var(--muted); }
#state[data-state=live]::before { background: var(--p50); }
#state[data-state=busy]::before { background: var(--status-4); }
#state[data-state=failing]::before { background: var(--error); }
#state[data-state=lost] { color: var(--error); font-weight: 600; }
#state[data-state=lost]::before { background: var(--error); }
#pause { min-width: 5rem; }
.buttons { display: flex; flex-wrap: wrap; gap: .4rem; }
button[data-done]::after { content: " ✓"; }

.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem; margin: .75rem 0; color: var(--muted); min-height: 2rem; }
fieldset { display: flex; align-items: center; border: 0; margin: 0; padding: 0; }
legend { float: left; padding: 0 .75rem 0 0; color: var(--text); font-weight: 600; }
fieldset input { position: absolute; opacity: 0; }
fieldset span { display: block; padding: .2rem .7rem; border: 1px solid var(--line); margin-left: -1px; background: var(--panel); color: var(--text); }
fieldset label:first-of-type span { border-radius: .4rem 0 0 .4rem; }
fieldset label:last-of-type span { border-radius: 0 .4rem .4rem 0; }
fieldset input:checked + span { background: var(--text); color: var(--panel); }
fieldset input:focus-visible + span { outline: 2px solid var(--focus); outline-offset: 2px; position: relative; }

.scope { display: flex; align-items: center; gap: .75rem; margin-left: auto; min-width: 0; }
#chosen { color: var(--text); overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .6rem; margin: 0; }
#endings { grid-template-columns: repeat(auto-fit, minmax(6.9rem, 1fr)); margin-top: .6rem; }
#endings div { padding: .5rem .55rem; }
#endings dt { font-size: .8125rem; padding-right: .9rem; }
#endings dt span { display: block; font-size: .75rem; }
#endings small { display: -webkit-box; height: 3.9em; -webkit-box-orient: vertical; -webkit-line-clamp: 3; white-space: normal; overflow-wrap: anywhere; }
dl div, figure, .table, .notes, .aside, #slowest, #changed { background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; }
dl div { position: relative; padding: .6rem .9rem; min-width: 0; }
dt { font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; padding-right: 1.2rem; }
dt span { font-weight: 400; color: var(--muted); }
dd { margin: 0; }
data { display: block; font-size: 1.75rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
#endings data { font-size: 1.25rem; }
small { display: block; min-height: 1.3em; font-size: .8125rem; line-height: 1.3; color: var(--muted); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.copy { border: 0; background: none; min-height: 1.5rem; padding: 0 .2rem; color: var(--muted); }
.copy::before { content: ""; display: block; width: .5rem; height: .5rem; border: 1.5px solid; border-radius: 1px; margin: .2rem .2rem 0 0; box-shadow: 3px -3px 0 -1.5px var(--panel), 3px -3px 0 0; }
.copy[data-done]::after { content: none; }
.copy[data-done] { color: var(--p50); }
dl .copy { position: absolute; top: .45rem; right: .4rem; }
.copy:hover { color: var(--text); }
#p50 dt::before, #p90 dt::before, #p99 dt::before, .keys span::before {
  content: ""; display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .4rem; background: var(--key);
}
[data-key=p50], #p50 { --key: var(--p50); }
[data-key=p90], #p90 { --key: var(--p90); }
[data-key=p99], #p99 { --key: var(--p99); }
[data-key=rate], [data-key=busy] { --key: var(--rate); }
[data-key="5xx"] { --key: var(--status-5); }
[data-key="4xx"] { --key: repeating-linear-gradient(to right, var(--status-4) 0 .4rem, transparent .4rem .55rem); }
[data-key=aborted] { --key: repeating-linear-gradient(to right, var(--aborted) 0 .15rem, transparent .15rem .3rem); }
[data-key=rejected] { --key: repeating-linear-gradient(to right, var(--rejected) 0 .3rem, transparent .3rem .4rem); }
[data-key=stall] { --key: repeating-linear-gradient(135deg, var(--mark) 0 2px, transparent 2px 5px); }
#status-5.some data, #burn-300.some data, #burn-3600.some data { color: var(--status-5); }
#status-4.some data { color: var(--status-4); }
#aborted.some data { color: var(--aborted); }
#rejected.some data { color: var(--rejected); }

#changed { margin-bottom: .6rem; }
.aside, #slowest { margin-top: .6rem; }
#objective { margin: 0 0 .6rem; }
#changed, .aside, #slowest { padding: .6rem .9rem; color: var(--muted); }
#most { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .75rem; min-height: 2.2rem; }
#changed h2, .aside h2, #slowest h2 { color: var(--text); }
#changes { display: flex; flex-wrap: wrap; gap: .3rem .5rem; }
#trouble { margin-bottom: .4rem; color: var(--text); }
#trouble strong { color: var(--error); }
#trouble small { white-space: normal; }
#trouble small:empty { display: none; }
#loop-line { min-height: 2.9em; font-variant-numeric: tabular-nums; }
#loop-line:not(.telling) .how { display: none; }
#trouble:not([data-cause=computes]) .computes, #trouble:not([data-cause=waits]) .waits, #trouble:not([data-cause=either]) .either { display: none; }
#changed button { text-align: left; overflow-wrap: anywhere; }
.aside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 3fr); gap: .2rem .9rem; }
.aside dl { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); grid-row: span 2; }
.aside dl div { border: 0; padding: 0 .9rem; }
.aside dt, .aside small { white-space: normal; }
.aside data { font-size: 1.25rem; color: var(--text); }
.aside code { overflow-wrap: anywhere; color: var(--text); }
ol { list-style: none; margin: .3rem 0 0; padding: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
ol span { display: inline-block; min-width: 5rem; margin-right: .75rem; }
ol span:nth-of-type(2) { color: var(--text); font-weight: 600; }
#alert { color: var(--error); font-weight: 600; }

.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem; margin: .6rem 0; }
figure { margin: 0; padding: .7rem .9rem .4rem; min-width: 0; }
#heat { grid-row: span 2; display: flex; flex-direction: column; }
figcaption { display: flex; flex-wrap: wrap; align-items: center; gap: 0 .5rem; margin-bottom: .3rem; font-size: .8125rem; color: var(--muted); }
figcaption h2 { color: var(--text); font-size: .875rem; }
.keys { display: flex; flex-wrap: wrap; gap: 0 .9rem; align-items: baseline; margin-left: auto; font-variant-numeric: tabular-nums; }
.keys span { white-space: nowrap; }
.keys b { display: inline-block; min-width: 4.4rem; color: var(--text); font-weight: 600; }
#failures .keys b, #rates .keys b, #loop .keys b { min-width: 3rem; }
.scale { display: inline-block; width: 3rem; height: .7rem; border-radius: .15rem; vertical-align: -.05rem; margin: 0 .3rem; background: linear-gradient(to right, color-mix(in srgb, var(--heat) 15%, var(--panel)), var(--heat)); }
.plot { height: 10rem; border-radius: .3rem; }
#heat figcaption data { display: inline-block; min-width: 2.6rem; font: inherit; }
#heat .plot { flex: 1; min-height: 20rem; }

.table .bar { padding: 0 .9rem; }
.table .bar h2 { font-size: 1rem; color: var(--text); margin-right: auto; }
input[type=search] { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--line); border-radius: .4rem; min-height: 2rem; padding: .2rem .7rem; width: 14rem; max-width: 100%; }
.sort { display: none; }
.scroll { overflow-x: auto; }
table, thead, tbody { display: block; min-width: fit-content; }
table { font-variant-numeric: tabular-nums; }
tr { display: grid; grid-template-columns: var(--columns); }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:nth-child(n+101) { content-visibility: auto; contain-intrinsic-size: auto 2.6rem; }
th, td { padding: .3rem .4rem; text-align: right; white-space: nowrap; }
thead th { padding: .1rem 0; color: var(--muted); font-weight: 400; }
thead button { border: 0; background: none; padding: .1rem .4rem; min-height: 1.8rem; white-space: nowrap; }
thead button:hover { text-decoration: underline; }
thead [aria-sort] button { color: var(--text); font-weight: 600; }
thead [aria-sort=ascending] button::after { content: " ↑"; }
thead [aria-sort=descending] button::after { content: " ↓"; }
th.text, td.text { text-align: left; }
tbody th { font-weight: 400; }
tbody th.route { white-space: normal; }
tbody th.route button { font-family: ui-monospace, monospace; font-size: .8125rem; overflow-wrap: anywhere; }
tbody th small { color: var(--error); font-family: system-ui, sans-serif; white-space: normal; }
tbody small:empty { display: none; }
tbody tr { cursor: pointer; }
tbody tr:hover, tbody tr.chosen { background: var(--page); }
tbody tr.chosen th { box-shadow: inset .25rem 0 var(--rate); }
tbody button { all: unset; cursor: pointer; }
tbody button:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
td small { min-height: 0; font-size: .7rem; overflow: visible; white-space: normal; }
tbody tr.idle { color: var(--muted); }
[data-alarm="4"] { color: var(--status-4); font-weight: 600; }
[data-alarm="5"] { color: var(--status-5); font-weight: 600; }
[data-alarm=aborted] { color: var(--aborted); font-weight: 600; }
#empty { padding: .5rem .9rem .8rem; color: var(--muted); }
#more { margin: .5rem .9rem .8rem; }

.notes { margin: .75rem 0; padding: .9rem 1rem; color: var(--muted); }
.notes h2 { color: var(--text); }
.notes p { max-width: 65rem; margin-top: .4rem; }
.notes strong { color: var(--text); }
footer { padding-bottom: 1.5rem; font-size: .8125rem; color: var(--muted); }


@media (min-width: 100rem) {
  .charts { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  #heat .plot { min-height: 24rem; }
}
@media (max-width: 70rem) {
  dt span { display: block; font-size: .75rem; overflow: hidden; text-overflow: ellipsis; }
}
@media (max-width: 56rem) {
  #loop-line { min-height: 4.35em; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  #quantiles, #failures { order: -1; }
  #heat .plot { min-height: 15rem; }
}
@media (max-width: 40rem) {
  #loop-line { min-height: 7.25em; }
  header, main, footer { padding-left: .75rem; padding-right: .75rem; }
  #state { order: 4; flex: none; width: 100%; }
  .histogram { order: 3; width: 100%; }
  .buttons { order: 5; width: 100%; }
  .buttons button { flex: 1; padding: .2rem .3rem; }
  .scope { margin-left: 0; }
  fieldset legend { padding-right: .5rem; }
  fieldset span { padding: .2rem .5rem; }
  dl { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .4rem; }
  .aside { grid-template-columns: minmax(0, 1fr); }
  .aside dl { gap: .4rem; }
  .aside dl div { padding: 0; }
  #rate:nth-last-child(odd) { grid-column: span 2; }
  #endings { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .4rem; margin-top: .4rem; }
  dl div, #endings div { padding: .45rem .6rem; }
  #loop-busy { grid-column: span 3; }
  data { font-size: 1.4rem; }
  .charts { gap: .5rem; margin: .5rem 0; }
  figure { padding: .55rem .6rem .3rem; }
  .keys { gap: 0 .6rem; margin-left: 0; }
  .keys b { min-width: 3.6rem; }

  .sort { display: inline; }
  input[type=search] { width: 9rem; }
  #routes thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  #routes, #routes thead, #routes tbody { min-width: 0; }
  #routes tbody tr { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .2rem .4rem; padding: .5rem .75rem; }
  #routes tbody tr:nth-child(n+101) { contain-intrinsic-size: auto 8rem; }
  #routes tbody tr.chosen { box-shadow: inset .25rem 0 var(--rate); }
  tbody tr.chosen th { box-shadow: none; }
  #routes th, #routes td { padding: 0; text-align: left; min-width: 0; }
  #routes th.route { grid-column: span 2; }
  #routes td:has([data-alarm=""]) { display: none; }
  #routes td::before { content: attr(data-name); display: block; font-size: .6875rem; color: var(--muted); overflow: hidden; text-overflow: ellipsis; }
  #routes td.method::before { content: none; }
  #routes td.method { text-align: right; }
  td small { font-size: .6875rem; overflow: hidden; }
}
.u-wrap { position: relative; user-select: none; }
.u-wrap div { position: absolute; }
.u-under { overflow: hidden; }
.uplot canvas { display: block; position: relative; width: 100%; height: 100%; }
.u-cursor-x, .u-cursor-pt { left: 0; top: 0; pointer-events: none; will-change: transform; }
.u-cursor-x { height: 100%; border-right: 1px dashed var(--muted); }
.u-cursor-pt { border-radius: 50%; border: 0 solid; background-clip: padding-box !important; }
.u-off { display: none; }
`

/** The icon of the page, a small heat map. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#12305f"/>
<path fill="#b9d6ff" d="M3 10h3v3H3zm3.5 0h3v3h-3zM10 6.500h3v3h-3z"/><path fill="#4f86d6" d="M10 10h3v3h-3zM6.500 6.500h3v3h-3zM10 3h3v3h-3z"/></svg>
`
