// Puts items of a list into another order, by drag and by keyboard.
//
// Every item has a handle, a button. Dragging it moves the item; so do the arrow keys, Home and End
// while it has the focus. The caller keeps the order: this module only says what was moved where.

export function moved(items, from, to) {
  const rest = items.filter((_, place) => place !== from);
  return [...rest.slice(0, to), items[from], ...rest.slice(to)];
}

// The place that a key moves an item to. Undefined if it does not move it.
export function placeByKey(key, place, count) {
  const last = count - 1;
  const target = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: last }[key];
  return target === undefined || target === place || target < 0 || target > last ? undefined : target;
}

// The place for an item that is held at a height, from the middles of all items.
export function placeByHeight(height, middles, from) {
  const others = middles.filter((_, place) => place !== from);
  return others.filter((middle) => middle < height).length;
}

// Makes the children of `list` movable. `handleOf` finds the handle of a child, and `onMove` is told
// the old and the new place after the child was moved.
export function makeMovable(list, handleOf, onMove) {
  const children = () => [...list.children];
  const put = (child, to) => {
    const from = children().indexOf(child);
    if (from === to) return;
    const others = children().filter((other) => other !== child);
    list.insertBefore(child, others[to] ?? null);
    onMove(from, to);
  };
  list.addEventListener("keydown", (event) => {
    const child = children().find((one) => handleOf(one) === event.target);
    if (!child || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = placeByKey(event.key, children().indexOf(child), list.children.length);
    if (to === undefined) return;
    event.preventDefault();
    put(child, to);
    handleOf(child).focus();
  });
  list.addEventListener("pointerdown", (event) => {
    const child = children().find((one) => handleOf(one)?.contains(event.target));
    if (child && event.button === 0) drag(list, child, handleOf(child), event, put);
  });
}

function drag(list, child, handle, start, put) {
  start.preventDefault();
  handle.focus();
  handle.setPointerCapture(start.pointerId);
  child.classList.add("dragged");
  const move = (event) => {
    const all = [...list.children];
    const middles = all.map((one) => {
      const { top, height } = one.getBoundingClientRect();
      return top + height / 2;
    });
    put(child, placeByHeight(event.clientY, middles, all.indexOf(child)));
    // Moving the element in the document ends the capture.
    if (!handle.hasPointerCapture(start.pointerId)) handle.setPointerCapture(start.pointerId);
  };
  const end = () => {
    child.classList.remove("dragged");
    for (const name of ["pointerup", "pointercancel"]) handle.removeEventListener(name, end);
    handle.removeEventListener("pointermove", move);
  };
  handle.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) handle.addEventListener(name, end);
}
