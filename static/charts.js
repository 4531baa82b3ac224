// Small pictures of numbers over time. Every picture says its numbers in words as well.

import { svg } from "./elements.js";

const WIDTH = 720;
const HEIGHT = 150;
const FOOT = 18;
const OUTCOMES = ["approve", "review", "reject"];

// Bars of `{from_ms, approve, review, reject}`, stacked. `words(item)` describes a bar, `label` the picture.
export function stackedBars(items, { label, words, tick }) {
  const totals = items.map((item) => OUTCOMES.reduce((sum, outcome) => sum + item[outcome], 0));
  const most = Math.max(1, ...totals);
  const width = WIDTH / items.length;
  const bars = items.map((item, place) => svg("g", {}, svg("title", {}, words(item)), ...stack(item, place * width, width, most)));
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": label },
    ...bars,
    svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT, class: "axis" }),
    svg("text", { x: 0, y: 11 }, String(most)),
    ...[0, 0.5, 1].map((share) => tickText(items, share, tick)));
}

function stack(item, x, width, most) {
  let top = HEIGHT - FOOT;
  return OUTCOMES.filter((outcome) => item[outcome] > 0).map((outcome) => {
    const height = (item[outcome] / most) * (HEIGHT - FOOT - 14);
    top -= height;
    return svg("rect", { x: x + width * 0.1, y: top, width: width * 0.8, height, class: `bar-${outcome}` });
  });
}

function tickText(items, share, tick) {
  const item = items[Math.round((items.length - 1) * share)];
  const anchor = { 0: "start", 0.5: "middle", 1: "end" }[share];
  return svg("text", { x: WIDTH * share, y: HEIGHT - 4, "text-anchor": anchor }, tick(item));
}
