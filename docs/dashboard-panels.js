// In the browser: draws the panels that dashboard.mjs has read.
/* global getComputedStyle, uPlot */
const palette = ['#56a64b', '#e0a008', '#3274d9', '#e0752d', '#e02f44', '#a352cc', '#1f9e9e', '#8f7a3b', '#c15c9a']
const named = { text: 'var(--text)', green: '#299c46', orange: '#e0752d', red: '#e02f44' }

const number = value => new Intl.NumberFormat('en', { maximumSignificantDigits: 3 }).format(value)

const formats = {
  s: value => value === 0 ? '0 s' : value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`,
  reqps: value => `${number(value)} req/s`,
  percentunit: (value, decimals) => `${decimals === undefined ? number(value * 100) : (value * 100).toFixed(decimals)}%`,
  bytes: value => value === 0 ? '0 B' : `${number(value / 2 ** 20)} MiB`,
  short: number
}

function format (unit, value, decimals) {
  return value === undefined || value === null || Number.isNaN(value) ? '–' : (formats[unit] ?? number)(value, decimals)
}

function add (parent, name, text = '', className = '') {
  const element = parent.appendChild(document.createElement(name))
  element.textContent = text
  element.className = className
  return element
}

function style (property) {
  return getComputedStyle(document.body).getPropertyValue(property)
}

function drawStat (section, { series, fieldConfig: { defaults } }) {
  const stat = add(section, 'div', '', 'stat')
  const value = add(stat, 'b')
  for (const { name, values } of series) {
    const last = values.findLast(value => value !== null)
    const threshold = defaults.thresholds?.steps.findLast(step => step.value === null || last >= step.value)
    const colour = named[defaults.color.mode === 'thresholds' ? threshold.color : defaults.color.fixedColor]
    const part = add(value, 'span')
    if (series.length > 1) add(part, 'small', name)
    part.append(format(defaults.unit, last, defaults.decimals))
    part.style.color = colour
    if (series.length > 1) continue
    const [least, most] = [Math.min(...values), Math.max(...values)]
    const line = values.map((value, index) => `${index},${most === least ? 20 : 20 - 18 * (value - least) / (most - least)}`).join(' ')
    stat.insertAdjacentHTML('afterbegin', `<svg viewBox="0 0 ${values.length - 1} 20" preserveAspectRatio="none" style="color:${colour}"><polygon points="0,20 ${line} ${values.length - 1},20" fill="currentColor" fill-opacity=".15"/></svg>`)
  }
}

function axes (unit) {
  const lines = { stroke: style('--muted'), font: '11px system-ui', grid: { stroke: style('--line'), width: 1 }, ticks: { show: false } }
  return [{ ...lines, size: 24, values: (_chart, times) => times.map(time => new Date(time * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })), space: 110 },
    { ...lines, size: 66, values: (_chart, values) => values.map(value => format(unit, value)) }]
}

function createChart (section, options, data) {
  const plot = add(section, 'div', '', 'plot')
  const Chart = uPlot
  return () => new Chart({ width: plot.clientWidth, height: plot.clientHeight, legend: { show: false }, padding: [8, 14, 0, 0], cursor: { show: false }, ...options }, data, plot)
}

function drawTimes (section, { series, fieldConfig: { defaults } }, times) {
  const { custom, unit, min, max } = defaults
  const stacked = custom.stacking.mode === 'normal'
  const sums = times.map(() => 0)
  const drawn = series.map(({ values }) => values.map((value, index) => !stacked || value === null ? value : (sums[index] += value)))
  const colours = series.map((_series, index) => palette[index % palette.length])
  const lines = colours.map((stroke, index) => ({ stroke, width: 1.5, fill: custom.fillOpacity > 0 && !stacked ? `${stroke}33` : undefined, points: { show: false }, index }))
  const bands = stacked ? lines.map((line, index) => ({ series: [index + 1, index], fill: `${line.stroke}33` })).slice(1) : []
  if (stacked && lines.length > 0) lines[0].fill = `${lines[0].stroke}33`
  const most = Math.max(...drawn.flat(), 0)
  const finish = createChart(section, { series: [{}, ...lines], bands, axes: axes(unit), scales: { y: { range: [min ?? 0, max ?? (most * 1.08 || 1)] } } }, [times, ...drawn])
  const legend = add(section, 'div', '', 'legend')
  series.forEach(({ name }, index) => {
    const key = add(legend, 'span')
    add(key, 'i').style.background = colours[index]
    key.append(name)
  })
  return finish
}

function drawHeatmap (section, { series, options }, times) {
  const buckets = series.map(({ name, values }) => ({ bound: Number(name.replace('+Inf', 'Infinity')), values })).sort((a, b) => a.bound - b.bound)
  const cells = buckets.map(({ values }, row) => values.map((value, index) => Math.max((value ?? 0) - (buckets[row - 1]?.values[index] ?? 0), 0)))
  const most = Math.max(...cells.flat())
  const paint = chart => {
    const { ctx } = chart
    const [width, height] = [chart.bbox.width / times.length, chart.bbox.height / cells.length]
    cells.forEach((row, y) => row.forEach((value, x) => {
      if (value <= options.filterValues.le) return
      ctx.fillStyle = `hsl(${45 - 30 * Math.sqrt(value / most)} 90% 52% / ${0.15 + 0.85 * Math.sqrt(value / most)})`
      ctx.fillRect(chart.bbox.left + x * width, chart.bbox.top + chart.bbox.height - (y + 1) * height + 1, width - 0.5, height - 1)
    }))
  }
  const [time, bounds] = axes()
  return createChart(section, {
    series: [{}, { paths: () => null, points: { show: false } }],
    scales: { y: { range: [0, cells.length] } },
    axes: [time, { ...bounds, grid: { show: false }, splits: () => cells.map((_row, index) => index + 1), values: () => buckets.map(({ bound }) => bound === Infinity ? '' : format(options.yAxis.unit, bound)) }],
    hooks: { draw: [paint] }
  }, [times, times.map(() => null)])
}

function drawTable (section, { rows, fieldConfig: { overrides }, transformations }) {
  const units = Object.fromEntries(overrides.map(({ matcher, properties }) => [matcher.options, properties.find(({ id }) => id === 'unit').value]))
  const columns = ['method', 'route', ...Object.values(transformations.find(({ id }) => id === 'organize').options.renameByName)]
  const table = add(section, 'table')
  const cells = (name, texts) => {
    const row = add(table, 'tr')
    texts.forEach((text, index) => add(row, name, text, index < 2 ? 'text' : ''))
  }
  cells('th', columns)
  for (const row of rows) cells('td', columns.map((column, index) => index < 2 ? row[column] : format(units[column], row[column])))
}

const draw = { stat: drawStat, timeseries: drawTimes, heatmap: drawHeatmap, table: drawTable }

window.drawPanels = (panels, end, seconds, step) => {
  const times = Array.from({ length: seconds / step + 1 }, (_time, index) => end - seconds + index * step)
  const finish = panels.map(panel => {
    const { x, y, w, h } = panel.gridPos
    const element = add(document.querySelector('main'), panel.type === 'row' ? 'h2' : 'section')
    element.style.gridArea = `${y + 1} / ${x + 1} / span ${h} / span ${w}`
    if (panel.type === 'row') {
      element.textContent = panel.title
      return undefined
    }
    add(element, 'h3', panel.title)
    return draw[panel.type](element, panel, times)
  })
  for (const chart of finish) chart?.()
}
