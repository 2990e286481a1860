// Candles and volume with what happened to them, and lines for equity: TradingView's Lightweight Charts in the page's colours.

import { h } from "./dom.js";
import { colour, onTheme } from "./theme.js";

function frame(label, height) {
  const { createChart } = window.LightweightCharts;
  const place = h("div", { class: "chart", tabindex: "0", role: "application", "aria-roledescription": "chart", "aria-label": label });
  place.style.height = `${height}px`;
  const chart = createChart(place, {
    autoSize: true,
    // The logo brings a style element, which the page's rules forbid; its words stand in the footer.
    layout: { attributionLogo: false, background: { color: "transparent" }, fontFamily: "system-ui, sans-serif", panes: { enableResize: false } },
    timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4 },
  });
  const paint = () => chart.applyOptions({
    layout: { textColor: colour("quiet"), panes: { separatorColor: colour("line") } },
    grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
    rightPriceScale: { borderColor: colour("line") },
    timeScale: { borderColor: colour("line") },
  });
  paint();
  onTheme(place, paint);
  place.addEventListener("keydown", (event) => {
    const range = chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const size = range.to - range.from;
    const shift = { ArrowLeft: -size / 10, ArrowRight: size / 10, PageUp: -size, PageDown: size }[event.key];
    const zoom = { "+": size / 5, "=": size / 5, "-": -size / 4 }[event.key];
    if (shift !== undefined) chart.timeScale().setVisibleLogicalRange({ from: range.from + shift, to: range.to + shift });
    else if (zoom !== undefined) chart.timeScale().setVisibleLogicalRange({ from: range.from + zoom, to: range.to });
    else if (event.key === "End") chart.timeScale().scrollToRealTime();
    else return;
    event.preventDefault();
  });
  return { place, chart };
}

// `older(before)` is asked for bars before the first one when the left end comes near.
export function candles(label, older) {
  const { CandlestickSeries, HistogramSeries, createSeriesMarkers } = window.LightweightCharts;
  const { place, chart } = frame(label, 440);
  const prices = chart.addSeries(CandlestickSeries, {});
  prices.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.22 } });
  const volume = chart.addSeries(HistogramSeries, { priceFormat: { type: "volume" }, priceScaleId: "", lastValueVisible: false, priceLineVisible: false });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  const markers = createSeriesMarkers(prices, []);
  let bars = [], marks = [], asking = false, more = false;

  function paint() {
    const [up, down] = [colour("up"), colour("down")];
    prices.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    volume.setData(bars.map((bar) => ({ time: bar.time, value: bar.volume, color: colour(bar.close < bar.open ? "down-faint" : "up-faint") })));
    markers.setMarkers(marks.map((mark) => ({ ...mark, color: colour(mark.paint) })));
  }

  // Put bars before those that are there, or in their place.
  function add(data, events, { anew = false } = {}) {
    const fresh = data.time.map((time, at) => ({
      time, open: data.open[at], high: data.high[at], low: data.low[at], close: data.close[at], volume: data.volume[at],
    }));
    bars = anew ? fresh : [...fresh, ...bars];
    more = data.more;
    const times = bars.map((bar) => bar.time);
    marks = [...(anew ? [] : marks), ...events.map((mark) => ({ ...mark, time: nearest(times, mark.time) }))]
      .filter((mark) => mark.time !== undefined).sort((a, b) => a.time - b.time);
    prices.setData(bars);
    paint();
    // Bars that are put before the others leave what is seen where it is.
    const most = Math.max(40, Math.floor(place.clientWidth / 7));
    if (anew) chart.timeScale().setVisibleLogicalRange({ from: bars.length - Math.min(bars.length, most), to: bars.length + 3 });
  }

  chart.timeScale().subscribeVisibleLogicalRangeChange(async (range) => {
    if (!range || range.from > 40 || asking || !more || !bars.length) return;
    asking = true;
    try {
      await older(bars[0].time);
    } finally {
      asking = false;
    }
  });
  onTheme(place, paint);
  return { place, add };
}

// The last bar that opens at or before a moment: what happened between two bars is shown at the earlier one.
function nearest(times, moment) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= moment) low = middle + 1;
    else high = middle;
  }
  return times[Math.max(0, low - 1)];
}

// Lines over one time scale, such as the equity of two runs: `[{name, time, value}]`. `bars` draws bars, and `apart` each in a part of
// the chart and with a scale of its own, so that none hides another.
export function lines(label, all, { bars = false, apart = false } = {}) {
  const { HistogramSeries, LineSeries } = window.LightweightCharts;
  const { place, chart } = frame(label, apart ? Math.max(240, 60 + 130 * all.length) : 320);
  const drawn = all.map(({ name, time, value }, at) => {
    const options = { title: apart ? "" : name.slice(0, 24), priceLineVisible: false };
    const look = bars ? options : { ...options, lineWidth: 2, pointMarkersVisible: time.length <= 30 };
    const series = chart.addSeries(bars ? HistogramSeries : LineSeries, look, apart ? at : 0);
    series.setData(time.map((moment, number) => ({ time: moment, value: value[number] })).filter((point) => Number.isFinite(point.value)));
    return series;
  });
  if (apart) chart.panes().forEach((pane) => pane.setStretchFactor(1));
  const paint = () => drawn.forEach((series, at) => series.applyOptions({ color: colour(`series-${(at % 6) + 1}`) }));
  paint();
  onTheme(place, paint);
  // The chart knows its width once it is on the page.
  requestAnimationFrame(() => requestAnimationFrame(() => chart.timeScale().fitContent()));
  if (!apart) return place;
  return h("div", {}, h("ul", { class: "legend", "aria-label": "From the top" }, all.map(({ name }, at) =>
    h("li", {}, h("span", { class: `swatch swatch-${(at % 6) + 1}`, "aria-hidden": "true" }), name))), place);
}
