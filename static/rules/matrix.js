// The matrix of a backtest or a shadow report as a picture: what was, and what would be.
// Every cell says its count and share in words as well, since colour alone says nothing.

import { money, svg } from "../elements.js";
import { plainNumber } from "./amounts.js";
import { matrix as texts } from "../texts.js";

const OUTCOMES = ["approve", "review", "reject"];

const CELL = { width: 132, height: 92, gap: 4 };
const HEAD = { left: 76, top: 44 };
const AMOUNTS_SHOWN_MAX = 2;

// Cells as the picture needs them, of `{ was | decided, would_be, count | payments, amounts }`.
export function cellsOf(entries) {
  const total = entries.reduce((sum, entry) => sum + countOf(entry), 0);
  return OUTCOMES.flatMap((was) => OUTCOMES.map((wouldBe) => {
    const entry = entries.find((one) => (one.was ?? one.decided) === was && one.would_be === wouldBe);
    const count = entry ? countOf(entry) : 0;
    return { was, wouldBe, count, share: total ? count / total : 0, amounts: amountsOf(entry?.amounts), isChange: was !== wouldBe };
  }));
}

const countOf = (entry) => entry.count ?? entry.payments ?? 0;

// Backtests give amounts as an object by currency, shadow reports as a list.
function amountsOf(amounts = []) {
  const list = Array.isArray(amounts)
    ? amounts.map(({ currency, total_minor: minor }) => ({ currency, minor }))
    : Object.entries(amounts).map(([currency, sum]) => ({ currency, minor: sum.amount_minor }));
  return list.sort((a, b) => b.minor - a.minor).map(({ currency, minor }) => money(minor, currency));
}

// A share as people read it. What happened is never shown as 0 %, nor what did not happen always as 100 %.
export function shareInWords(share) {
  const percent = share * 100;
  if (share > 0 && percent < 0.01) return texts.lessThan("0.01");
  if (share < 1 && percent > 99.99) return texts.moreThan("99.99");
  return texts.percent(plainNumber(Number(percent.toFixed(2))));
}

// `onOpen` is told the cell that a person chose.
export function matrixPicture(entries, { label, onOpen } = {}) {
  const cells = cellsOf(entries);
  const width = HEAD.left + OUTCOMES.length * (CELL.width + CELL.gap);
  const height = HEAD.top + OUTCOMES.length * (CELL.height + CELL.gap);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "matrix", role: "group", "aria-label": label ?? texts.label });
  picture.append(text(HEAD.left, 14, texts.wouldBe, { class: "matrix-axis" }), text(0, 14, texts.was, { class: "matrix-axis" }));
  OUTCOMES.forEach((outcome, place) => {
    const middle = HEAD.left + place * (CELL.width + CELL.gap) + CELL.width / 2;
    picture.append(
      text(middle, HEAD.top - 10, texts.outcome(outcome), { "text-anchor": "middle", class: "matrix-head" }),
      text(0, HEAD.top + place * (CELL.height + CELL.gap) + CELL.height / 2 + 5, texts.outcome(outcome), { class: "matrix-head" }));
  });
  cells.forEach((cell, index) => picture.append(cellGroup(cell, index, onOpen)));
  return picture;
}

function cellGroup(cell, index, onOpen) {
  const x = HEAD.left + (index % OUTCOMES.length) * (CELL.width + CELL.gap);
  const y = HEAD.top + Math.floor(index / OUTCOMES.length) * (CELL.height + CELL.gap);
  const place = { x, y, width: CELL.width, height: CELL.height, rx: 6 };
  const kind = cell.count === 0 ? "empty" : cell.isChange ? severity(cell) : "same";
  const group = svg("g", { class: `matrix-cell ${kind}` });
  const shade = cell.count === 0 ? 0 : 0.12 + 0.3 * Math.sqrt(cell.share);
  group.append(
    svg("rect", { ...place, "fill-opacity": shade.toFixed(3) }),
    text(x + 10, y + 30, plainNumber(cell.count), { class: "matrix-count" }),
    text(x + 10, y + 48, shareInWords(cell.share), { class: "matrix-share" }));
  const shown = cell.amounts.slice(0, AMOUNTS_SHOWN_MAX);
  shown.forEach((amount, line) => group.append(text(x + 10, y + 66 + 15 * line, amount, { class: "matrix-amount" })));
  const words = texts.cell(cell.was, cell.wouldBe, plainNumber(cell.count), shareInWords(cell.share), cell.amounts.join(", "));
  group.prepend(svg("title", {}, words));
  if (onOpen && cell.count > 0 && cell.isChange) return opening(group, words, () => onOpen(cell), place);
  group.setAttribute("role", "img");
  group.setAttribute("aria-label", words);
  return group;
}

// Whether the change is towards a stricter outcome.
const severity = (cell) => (OUTCOMES.indexOf(cell.wouldBe) > OUTCOMES.indexOf(cell.was) ? "stricter" : "milder");

// The button lies over the cell, since its name has other words than those that are seen.
function opening(group, words, open, place) {
  group.classList.add("opens");
  const button = svg("rect", { ...place, class: "matrix-button", role: "button", tabindex: "0", "aria-label": texts.openCell(words) });
  button.addEventListener("click", open);
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open();
  });
  for (const child of group.children) child.setAttribute("aria-hidden", "true");
  group.append(button);
  return group;
}

const text = (x, y, content, attributes) => svg("text", { x, y, ...attributes }, content);
