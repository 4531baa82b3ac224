// How often a shadow agreed with what was decided, over time, as a chart with a table for those who
// do not see it.

import { element, svg, table } from "../elements.js";
import { plainNumber } from "./amounts.js";
import { titled } from "./blocks.js";
import { shareInWords } from "./matrix.js";
import { trial as texts } from "../texts.js";

const WIDTH = 640;
const HEIGHT = 180;
const EDGE = { left: 56, right: 8, top: 12, bottom: 24 };

// Equal parts of a time, at most `count` and none shorter than a second.
export function windows(fromMs, toMs, count = 12) {
  const parts = Math.max(1, Math.min(count, Math.floor((toMs - fromMs) / 1000)));
  const edge = (place) => Math.round(fromMs + ((toMs - fromMs) * place) / parts);
  return Array.from({ length: parts }, (_, place) => ({ fromMs: edge(place), toMs: edge(place + 1) }));
}

// `points` are `{ fromMs, toMs, runs, changed }`. Parts without runs leave a gap.
export function agreementChart(points) {
  const shares = points.map(({ runs, changed }) => (runs ? (runs - changed) / runs : null));
  const lowest = Math.min(...shares.filter((share) => share !== null), 1);
  // The axis begins below the lowest point, since most shadows agree nearly always.
  const floor = lowest > 0.9 ? 0.9 : lowest > 0.5 ? 0.5 : 0;
  const x = (place) => EDGE.left + ((WIDTH - EDGE.left - EDGE.right) * (place + 0.5)) / points.length;
  const y = (share) => EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * (1 - (share - floor) / (1 - floor));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": texts.agreementOverTime });
  for (const share of [floor, (1 + floor) / 2, 1]) {
    picture.append(svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(share), y2: y(share), class: "chart-grid" }),
      svg("text", { x: EDGE.left - 6, y: y(share) + 4, "text-anchor": "end", class: "chart-text" }, shareInWords(share)));
  }
  picture.append(svg("path", { d: pathOf(shares, x, y), class: "chart-line", fill: "none" }));
  shares.forEach((share, place) => {
    if (share !== null) picture.append(svg("circle", { cx: x(place), cy: y(share), r: 3.5, class: "chart-dot" }));
  });
  for (const [place, anchor] of [[0, "start"], [points.length - 1, "end"]]) {
    const edge = place === 0 ? EDGE.left : WIDTH - EDGE.right;
    const ms = place === 0 ? points[place].fromMs : points[place].toMs;
    picture.append(svg("text", { x: edge, y: HEIGHT - 6, "text-anchor": anchor, class: "chart-text" }, new Date(ms).toLocaleString()));
  }
  return element("figure", {}, picture, asTable(points, shares));
}

function pathOf(shares, x, y) {
  let isDrawing = false;
  return shares.map((share, place) => {
    if (share === null) {
      isDrawing = false;
      return "";
    }
    const command = isDrawing ? "L" : "M";
    isDrawing = true;
    return `${command}${x(place).toFixed(1)} ${y(share).toFixed(1)}`;
  }).join(" ");
}

function asTable(points, shares) {
  const rows = points.map((point, place) => [
    new Date(point.fromMs).toLocaleString(), shares[place] === null ? texts.unknown : shareInWords(shares[place]), plainNumber(point.runs),
  ]);
  return element("details", {}, element("summary", {}, texts.asTable),
    table(texts.agreementOverTime, titled(texts.from, texts.agreed, texts.runs), rows));
}
