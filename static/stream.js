// The live feed: server-sent events, read by `fetch`, since an EventSource cannot carry a token.

import { problemOf, send } from "./request.js";
import { renewed, token } from "./session.js";

const WAIT_MS = { first: 1000, most: 30_000 };

// Calls `onEvent({kind, data})` until `signal` is aborted, and `onState(isLive)` when the connection comes
// or goes. Begins after the event `from`, or with what is new. Connects again after a loss and goes on after
// the last event; some events may then come again.
export async function follow({ signal, from = "", onEvent, onState }) {
  let lastId = from;
  let wait_ms = WAIT_MS.first;
  while (!signal.aborted) {
    const used = token();
    try {
      const headers = { Authorization: `Bearer ${used}`, Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await send("/api/v1/events", { headers, signal, credentials: "omit" });
      if (response.status === 401) {
        await renewed(used);
        continue;
      }
      if (!response.ok) throw problemOf(response, null);
      onState(true);
      wait_ms = WAIT_MS.first;
      for await (const event of events(response.body)) {
        if (event.id) lastId = event.id;
        if (event.data) onEvent({ kind: event.event, data: JSON.parse(event.data) });
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 403 || error.status === 404) return onState(false);
    }
    onState(false);
    await pause(wait_ms, signal);
    wait_ms = Math.min(wait_ms * 2, WAIT_MS.most);
  }
}

async function* events(body) {
  let rest = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + chunk).replace(/\r\n?/g, "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") event.data += value;
    else if (name) event[name] = value;
  }
  return event;
}

const pause = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});
