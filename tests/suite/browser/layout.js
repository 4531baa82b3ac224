// What does not fit into the window: the page itself, and controls outside of it or cut by their
// surroundings. Parts that scroll on their own, such as wide tables, may hold what is outside.
const found = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) {
  const wide = [...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > width + 1 && !one.closest('.table, .skip, .visually-hidden'))
    .slice(0, 3).map((one) => `${one.tagName}.${one.className?.baseVal ?? one.className} to ${Math.round(one.getBoundingClientRect().right)}`);
  found.push(`scrolls sideways to ${document.documentElement.scrollWidth}: ${wide.join('; ')}`);
}
const scrolls = (one) => ['auto', 'scroll'].includes(getComputedStyle(one).overflowX);
const named = (one) => `${one.tagName.toLowerCase()} ${JSON.stringify((one.textContent || one.name || one.id || '').slice(0, 40))}`;
for (const one of document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')) {
  if (one.closest('[hidden]') || one.matches('.skip') || !one.checkVisibility({ checkVisibilityCSS: true })) continue;
  if (one.closest('details:not([open])') && one.tagName !== 'SUMMARY') continue;
  const box = one.getBoundingClientRect();
  if (box.width === 0 || box.height === 0) {
    if (one.namespaceURI !== 'http://www.w3.org/2000/svg') found.push(`${named(one)} can have the focus and has no size`);
    continue;
  }
  let around = one.parentElement;
  while (around && !scrolls(around)) around = around.parentElement;
  const [left, right] = around ? [around.getBoundingClientRect().left, Infinity] : [0, width];
  if (box.left < left - 1 && !around) found.push(`${named(one)} begins at ${Math.round(box.left)}`);
  if (box.right > right + 1) found.push(`${named(one)} ends at ${Math.round(box.right)} of ${width}`);
  if (one.tagName === 'BUTTON' && one.scrollWidth > one.clientWidth + 1) found.push(`${named(one)} is cut`);
}
return found;
